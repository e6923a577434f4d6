//! The binary `kubectl-arl`: see the library.

fn main() -> std::process::ExitCode {
    arl_cli::main()
}
