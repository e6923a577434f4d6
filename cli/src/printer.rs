//! Outputs of a Task's steps on our own.

use arl_agent::message::live::Output;

use crate::{failure::Failure, outcome::Sink, print};

/// Prints them, or some of them.
#[derive(Debug, Default)]
pub struct Printer {
    /// Only of this step.
    step: Option<String>,
    /// With the step's name before each line.
    has_prefix: bool,
    /// The step and the output that the last line, which has not ended, is of.
    open: Option<(String, Output)>,
}

impl Printer {
    /// Of all steps, or only of one.
    pub fn of(step: Option<String>, has_prefix: bool) -> Self {
        Self { step, has_prefix, open: None }
    }

    fn is_wanted(&self, step: &str) -> bool {
        self.step.as_ref().is_none_or(|wanted| *wanted == step)
    }

    /// What is printed of it.
    fn lines(&mut self, step: &str, output: Output, data: &[u8]) -> Vec<u8> {
        if !self.has_prefix {
            return data.to_owned();
        }
        let of = (step.to_owned(), output);
        let mut text = Vec::new();
        let mut goes_on = self.open.as_ref() == Some(&of);
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            if !goes_on {
                text.extend_from_slice(format!("[{step}] ").as_bytes());
            }
            goes_on = false;
            text.extend_from_slice(line);
        }
        self.open = data.last().is_some_and(|byte| *byte != b'\n').then_some(of);
        text
    }
}

impl Sink for Printer {
    async fn put(&mut self, step: &str, output: Output, data: &[u8]) -> Result<(), Failure> {
        if !self.is_wanted(step) {
            return Ok(());
        }
        let text = self.lines(step, output, data);
        match output {
            Output::Stdout => print::bytes(&text),
            Output::Stderr => {
                print::raw(&text);
                Ok(())
            }
        }
    }

    async fn missing(&mut self, step: &str, bytes: u64) -> Result<(), Failure> {
        if self.is_wanted(step) {
            print::note(format!("[{bytes} bytes are left out]"));
        }
        Ok(())
    }
}

/// Wants none of them.
#[derive(Debug)]
pub struct Silence;

impl Sink for Silence {
    fn is_listening(&self) -> bool {
        false
    }

    async fn put(&mut self, _: &str, _: Output, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    async fn missing(&mut self, _: &str, _: u64) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_have_its_step_before_it() {
        let mut printer = Printer::of(None, true);
        let mut lines =
            |step: &str, data: &str| String::from_utf8(printer.lines(step, Output::Stdout, data.as_bytes())).unwrap();
        assert_eq!(lines("a", "x\ny"), "[a] x\n[a] y");
        assert_eq!(lines("a", "z\n"), "z\n", "the same line goes on");
        assert_eq!(lines("b", "x\n"), "[b] x\n");
        assert_eq!(lines("b", "x"), "[b] x");
        assert_eq!(lines("c", "y"), "[c] y", "another step's goes not on");
        assert_eq!(Printer::default().lines("a", Output::Stdout, b"x\xff"), b"x\xff");
    }
}
