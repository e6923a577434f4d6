//! `kubectl arl ui` in a browser, where this machine has one.

use arl_crds::TaskState;
use k8s_openapi::ByteString;
use serde_json::{from_value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::{
    cli::{arl, command, served, signalled},
    cli_browser::Browser,
    harness::{
        World,
        make::shell,
        setup::root,
        wait::{DEADLINE, state},
    },
};

/// Control, in a DevTools key event.
const CONTROL: u32 = 2;

/// Starts it; the address that it prints.
async fn ui(world: &World) -> (Child, String) {
    let mut child = command(world, &["ui", "--no-browser"]).await.spawn().unwrap();
    let mut address = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    tokio::time::timeout(DEADLINE, out.read_line(&mut address)).await.expect("it prints").unwrap();
    (child, address.trim().to_owned())
}

const SCREEN: &str = "document.getElementById('screen').textContent";

/// By the button of the first Sandbox; it shows its prompt.
async fn opens_a_shell(browser: &mut Browser) {
    browser
        .until("document.querySelector('#sandboxes button') && !document.querySelector('#sandboxes button').disabled")
        .await;
    browser.value("document.querySelector('#sandboxes button').click()").await;
    browser.until(&format!("{SCREEN}.includes('$') || {SCREEN}.includes('#')")).await;
}

/// Waits until the Sandbox `s` has no live process.
async fn has_no_process(world: &World, why: &str) {
    let ended = async { while !arl(world, &["ps", "s", "--no-headers"]).await.out().is_empty() {} };
    tokio::time::timeout(DEADLINE, ended).await.expect(why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_what_is_there_and_has_shells() {
    let Some(mut browser) = Browser::start().await else { return };
    let world = served("cli-ui", 2).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let script = "printf '<img src=x onerror=alert(1)>\\n\\033[31mone\\n'; while ! [ -e /workspace/go ]; do sleep 0.1; done; echo two";
    world.task("t", "s", json!([shell("a", script)])).await;
    world.one("t", "it runs", |task| state(task) == Some(TaskState::Running)).await;
    let (child, address) = ui(&world).await;
    browser.open(&address).await;
    browser
        .until("document.querySelector('#pools .numbers')?.textContent === '2 of 2 ready, 1 allocated, 0 waiting'")
        .await;
    browser.until("document.querySelector('svg .ready').getAttribute('d')?.length > 10").await;
    assert_eq!(browser.value("location.hash").await, "", "the token is in no address that is shown");

    browser.until("document.querySelector('#tasks button')").await;
    browser.value("document.querySelector('#tasks button').focus()").await;
    browser.press("Enter", "\r", 0).await;
    browser.until(&format!("{SCREEN}.includes('one')")).await;
    browser.until("document.getElementById('panel-note').textContent === 'live'").await;
    assert_eq!(browser.value("document.images.length").await, 0, "what a pod prints is text");
    assert!(browser.value(SCREEN).await.as_str().unwrap().contains("<img src=x"));
    arl(&world, &["exec", "s", "--", "touch", "/workspace/go"]).await.out();
    browser.until(&format!("{SCREEN}.includes('two')")).await;
    browser.until("document.getElementById('panel-note').textContent === 'finished: Succeeded, exit code 0'").await;

    browser.until("!document.querySelector('#sandboxes button').disabled").await;
    browser.value("document.querySelector('#sandboxes button').focus()").await;
    browser.press("Enter", "\r", 0).await;
    browser.until(&format!("{SCREEN}.includes('$') || {SCREEN}.includes('#')")).await;
    browser.write("echo $((6*7)); stty size").await;
    browser.press("Enter", "\r", 0).await;
    browser.until(&format!("/42\\d+ \\d+/.test({SCREEN})")).await;
    assert_eq!(arl(&world, &["ps", "s", "--no-headers"]).await.out().lines().count(), 1);
    browser.press("]", "\u{1d}", CONTROL).await;
    assert_eq!(browser.value("document.activeElement.id").await, "close");
    browser.press("Enter", "\r", 0).await;
    browser.until("document.getElementById('panel').hidden").await;
    assert_eq!(browser.value("document.activeElement.textContent").await, "Terminal", "the focus is back");
    has_no_process(&world, "the shell is ended with its window").await;

    arl(&world, &["pool", "scale", "p", "3"]).await.out();
    browser.until("document.querySelector('#pools .numbers').textContent.startsWith('3 of 3 ready')").await;
    let light = browser.value("getComputedStyle(document.body).backgroundColor").await;
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.call("Emulation.setEmulatedMedia", dark).await;
    assert_ne!(browser.value("getComputedStyle(document.body).backgroundColor").await, light);
    let foreign = "performance.getEntriesByType('resource').filter((r) => !r.name.startsWith(location.origin)).length";
    assert_eq!(browser.value(foreign).await, 0, "all of it comes from the binary");
    browser.call("Page.reload", json!({})).await;
    browser.until("document.getElementById('link').textContent === 'live'").await;
    assert_eq!(browser.errors, Vec::<String>::new());

    opens_a_shell(&mut browser).await;
    assert_eq!(signalled(child, "-TERM").await, Some(143));
    assert_eq!(arl(&world, &["ps", "s", "--no-headers"]).await.out(), "", "shells end with it");
    browser.until("document.getElementById('link').className === 'lost'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_of_the_page_shows_what_programs_print() {
    let Some(mut browser) = Browser::start().await else { return };
    let world = World::served("cli-ui-screen").await;
    let (_child, address) = ui(&world).await;
    browser.open(&address).await;
    browser.until("document.getElementById('link').textContent === 'live'").await;
    for (printed, shown) in [
        ("one\\r\\ntwo", "one\ntwo"),
        ("progress 10%\\rprogress 99%", "progress 99%"),
        ("abc\\b\\bX", "aXc"),
        ("a\\tb", "a       b"),
        ("abcdef\\r\\x1b[3C\\x1b[K", "abc"),
        ("abc\\x1b[2D\\x1b[1P", "ac"),
        ("ac\\b\\x1b[@b", "abc"),
        ("\\x1b]0;title\\x07x\\x1b[?2004hy", "xy"),
        ("\\x1b[1;31mred\\x1b[0m\\x1b[38;5;12mblue", "redblue"),
        ("old\\x1b[H\\x1b[2Jnew", "new"),
        ("<b>&amp;</b>", "<b>&amp;</b>"),
        ("\\u20ac", "\u{20ac}"),
    ] {
        let script = format!(
            "import('/terminal.js').then(({{ Terminal }}) => {{ const screen = document.createElement('div'); \
             const terminal = new Terminal(screen); const bytes = new TextEncoder().encode(`{printed}`); \
             for (const byte of bytes) terminal.write(new Uint8Array([byte])); terminal.draw(false); \
             return [...screen.children].map((line) => line.textContent.replaceAll('\\u200b', '')).join('\\n'); }})"
        );
        assert_eq!(browser.value(&script).await, shown, "{printed}");
    }
    let bold = "import('/terminal.js').then(({ Terminal }) => { const screen = document.createElement('div'); \
        new Terminal(screen).write(new TextEncoder().encode('\\x1b[1;31mred')); return screen.querySelector('span').className; })";
    assert_eq!(browser.value(bold).await, "strong c1");
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_that_are_given_up_while_they_open_end() {
    let Some(mut browser) = Browser::start().await else { return };
    let world = served("cli-ui-gone", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let (_child, address) = ui(&world).await;
    browser.open(&address).await;
    browser.until("document.getElementById('link').textContent === 'live'").await;
    // Some are given up while they open: each has an end, and leaves its place to others.
    let given_up = "Promise.all([5, 10, 20, 40].map((after, n) => { const stop = new AbortController(); \
        setTimeout(() => stop.abort(), after); \
        return fetch(`/api/open/s/gone${n}/80/24`, { method: 'POST', signal: stop.signal, \
        headers: { 'x-arl-token': sessionStorage.getItem('token') } }).catch(() => {}); })).then(() => true)";
    browser.value(given_up).await;
    has_no_process(&world, "no shell is left").await;
    opens_a_shell(&mut browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_holds_no_more_than_is_seen() {
    let Some(mut browser) = Browser::start().await else { return };
    let world = World::served("cli-ui-bounds").await;
    let (_child, address) = ui(&world).await;
    browser.open(&address).await;
    browser.until("document.getElementById('link').textContent === 'live'").await;
    for (printed, most, lines) in [
        ("'\\x1b[1000C'.repeat(10000)", 4097, 1),
        ("'x'.repeat(10000)", 4097, 3),
        ("'x\\r\\x1b[1000@'.repeat(100)", 4096, 1),
    ] {
        let script = format!(
            "import('/terminal.js').then(({{ Terminal }}) => {{ const screen = document.createElement('div'); \
             new Terminal(screen).write(new TextEncoder().encode({printed})); const lines = [...screen.children]; \
             return [lines.every((line) => line.textContent.length <= {most}), lines.length]; }})"
        );
        assert_eq!(browser.value(&script).await, json!([true, lines]), "{printed}");
    }
    for (key, sent) in [
        ("key: 'Tab', shiftKey: true", json!(null)),
        ("key: 'Tab'", json!("\t")),
        ("key: 'b', altKey: true", json!("\u{1b}b")),
        ("key: 'b'", json!("b")),
    ] {
        let script = format!("import('/terminal.js').then(({{ bytesOf }}) => bytesOf({{ {key} }}))");
        assert_eq!(browser.value(&script).await, sent, "{key}");
    }
    let focus = "import('/elements.js').then(({ keyed }) => { const list = document.createElement('ul'); document.body.append(list); \
        const show = (names) => keyed(list, names.map((name) => ({ name })), 'li', (element) => { element.tabIndex = 0; }); \
        show(['a', 'b', 'c']); list.children[1].focus(); show(['b', 'c', 'd']); \
        const kept = document.activeElement.dataset.name; list.remove(); return kept; })";
    assert_eq!(browser.value(focus).await, "b", "a row keeps the focus when the first one goes");
    for (hidden, class) in [(true, "lost"), (false, "live")] {
        let script = format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
             document.dispatchEvent(new Event('visibilitychange'))"
        );
        browser.value(&script).await;
        browser.until(&format!("document.getElementById('link').className === '{class}'")).await;
    }
    assert_eq!(browser.errors, Vec::<String>::new());
}

/// What a repository may hold of a picture.
const PICTURE_MAX: usize = 150_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/images/ui.png: make screenshot"]
async fn screenshot() {
    let mut browser = Browser::start().await.expect("a Chromium");
    let world = World::new("demo").await;
    for (name, replicas) in [("python", 4), ("build", 2)] {
        world.pool(name, replicas).await;
        world.pool_is_ready(name, replicas).await;
    }
    let (_child, address) = ui(&world).await;
    let size = json!({ "width": 1100, "height": 1280, "deviceScaleFactor": 1, "mobile": false });
    browser.call("Emulation.setDeviceMetricsOverride", size).await;
    browser.open(&address).await;
    for (pool, sandbox) in [("python", "alice"), ("python", "bob"), ("build", "nightly")] {
        arl(&world, &["claim", pool, "--name", sandbox]).await.out();
    }
    world.run("alice-numbers", "alice", json!([shell("sum", "echo $((6 * 7))")])).await;
    world.run("bob-fails", "bob", json!([shell("check", "echo no such file >&2; exit 3")])).await;
    let script =
        "for n in $(seq 17); do echo \"test $n of 40: ok\"; done; while ! [ -e /workspace/go ]; do sleep 0.1; done";
    world.task("nightly-tests", "nightly", json!([shell("tests", script)])).await;
    world.one("nightly-tests", "it runs", |task| state(task) == Some(TaskState::Running)).await;
    browser.until("document.querySelectorAll('#tasks button').length === 3").await;
    browser.until("document.querySelectorAll('#pools .numbers').length === 2").await;
    let of = "[...document.querySelectorAll('#tasks tr')].find((row) => row.textContent.includes('nightly-tests'))";
    browser.value(&format!("{of}.querySelector('button').click()")).await;
    browser.until(&format!("{SCREEN}.includes('test 17')")).await;
    browser.until("document.querySelectorAll('#sandboxes button:not([disabled])').length === 3").await;
    browser.until("document.getElementById('counts').textContent.includes('1 Tasks running')").await;
    for ready in ["4 of 4 ready", "2 of 2 ready"] {
        let of = "[...document.querySelectorAll('#pools .numbers')]";
        browser.until(&format!("{of}.some((numbers) => numbers.textContent.startsWith('{ready}'))")).await;
    }
    let taken = browser.call("Page.captureScreenshot", json!({ "format": "png" })).await;
    let picture: ByteString = from_value(taken["data"].clone()).unwrap();
    assert!(picture.0.len() < PICTURE_MAX, "{} bytes", picture.0.len());
    let directory = root().join("docs/images");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("ui.png"), &picture.0).unwrap();
    arl(&world, &["exec", "nightly", "--", "touch", "/workspace/go"]).await.out();
}
