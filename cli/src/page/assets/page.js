// What the page shows: the state of a namespace as it comes, a Task's outputs, a shell. All text is set as text, never as HTML.

import { chart, drawChart } from "/chart.js";
import { button, keyed, part, row, say } from "/elements.js";
import { Terminal, bytesOf, lineOf } from "/terminal.js";

const RETRY = 2000;
const $ = (id) => document.getElementById(id);

// The address has it behind the #, which no server and no log sees; a reload finds it here.
const token = location.hash.slice(1) || sessionStorage.getItem("token") || "";
sessionStorage.setItem("token", token);
history.replaceState(null, "", "/");
// Another address in the same tab: only its # differs.
addEventListener("hashchange", () => location.reload());

const call = (path, options = {}) => fetch(path, { ...options, headers: { "x-arl-token": token } });

// The lines of a response, each parsed, as they come.
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

// ---- the state

let state = null;
let fill = {};

const shown = () => new Promise((resume) => {
  if (!document.hidden) resume();
  else document.addEventListener("visibilitychange", resume, { once: true });
});

// A browser has six connections to a server, for all its windows: one that is not seen gives its own back.
async function follow() {
  for (;;) {
    await shown();
    const stop = new AbortController();
    const { signal } = stop;
    document.addEventListener("visibilitychange", () => document.hidden && stop.abort(), { signal });
    try {
      const response = await call("/api/state", { signal });
      if (!response.ok) throw new Error(await response.text());
      for await (const line of lines(response)) {
        if (line.fill) fill = line.fill;
        else show(line);
      }
      throw new Error("the stream has ended");
    } catch (error) {
      $("link").className = "lost";
      if (signal.aborted) {
        say($("link"), "paused while this window is hidden");
        continue;
      }
      say($("link"), `not connected (${error.message}); does kubectl arl ui still run?`);
    }
    stop.abort();
    await new Promise((resume) => setTimeout(resume, RETRY));
  }
}

function show(now) {
  state = now;
  const { stale } = now;
  $("link").className = stale ? "lost" : "live";
  say($("link"), stale ? `not updated since ${new Date(stale.since).toLocaleTimeString()}: ${stale.why}` : "live");
  $("namespace").textContent = now.namespace;
  document.title = `ARL ${now.namespace}`;
  const { pools, sandboxes, waiting, running, pending } = now.counts;
  $("counts").textContent = `${pools} pools, ${sandboxes} Sandboxes (${waiting} waiting), ${running} Tasks running, ${pending} pending`;
  for (const pool of now.pools) {
    (fill[pool.name] ||= []).push([now.at, pool.ready, pool.wanted, pool.waiting]);
  }
  for (const kind of ["pools", "sandboxes", "tasks"]) $(`no-${kind}`).hidden = now[kind].length > 0;
  for (const kind of ["sandboxes", "tasks"]) {
    $(kind).parentElement.hidden = now[kind].length === 0;
    const more = now.more[kind];
    $(`more-${kind}`).textContent = more ? `and ${more} more: kubectl arl get ${kind}` : "";
  }
  keyed($("pools"), now.pools, "li", fillCard);
  keyed($("sandboxes").tBodies[0], now.sandboxes, "tr", fillSandbox);
  keyed($("tasks").tBodies[0], now.tasks, "tr", fillTask);
  tick();
}

const MOODS = {
  good: ["Ready", "Bound", "Succeeded", "Allocated"],
  warn: ["Pending", "Running", "Scaling", "Queued", "PoolEmpty", "Cancelled", "Unserved"],
};
const moodOf = (word) => Object.keys(MOODS).find((mood) => MOODS[mood].includes(word)) || "bad";

function fillCard(card, pool) {
  const head = part(card, "div", "head");
  part(head, "span", "name", pool.name);
  part(head, "span", "state", pool.state).className = `state ${moodOf(pool.state)}`;
  chart(card, pool);
  part(card, "div", "numbers", `${pool.ready} of ${pool.wanted} ready, ${pool.allocated} allocated, ${pool.waiting} waiting`);
  part(card, "div", "message", pool.state === "Ready" ? "" : pool.message);
}

function fillSandbox(element, { name, pool, phase, reason, pod, message, created, usable }) {
  row(element, [[name], [pool], [phase, moodOf(phase)], [reason, moodOf(reason)], [pod], ["", "age"]], created, usable ? "" : message);
  button(element, "Terminal", `Terminal in Sandbox ${name}`, () => openTerminal(name), !usable);
}

function fillTask(element, { name, sandbox, state: word, reason, step, exit, duration, message, created }) {
  const cells = [[name], [sandbox], [word, moodOf(word)], [reason, moodOf(reason)], [step], [exit], [duration], ["", "age"]];
  row(element, cells, created, reason === "Succeeded" ? "" : message);
  button(element, "Output", `Output of Task ${name}`, () => openOutput(name), false);
}

function age(created) {
  const seconds = Math.max(0, Math.round((Date.now() - created) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86400)}d`;
}

// Ages and charts go on where nothing changes.
function tick() {
  for (const cell of document.querySelectorAll("td.age")) cell.textContent = age(Number(cell.parentElement.dataset.created));
  for (const card of $("pools").children) drawChart(card.querySelector("svg"), fill[card.dataset.name] || [], Date.now());
}
setInterval(() => state && tick(), 1000);

// ---- the panel

let close = () => {};
let opener = null;

function panel(title, note) {
  close();
  opener = document.activeElement;
  $("panel").hidden = false;
  $("panel-title").textContent = title;
  $("panel-note").textContent = note;
  $("screen").replaceChildren();
  $("screen").focus();
  const stop = new AbortController();
  close = () => stop.abort();
  return stop.signal;
}

function closePanel() {
  close();
  close = () => {};
  $("panel").hidden = true;
  opener?.focus();
}
$("close").addEventListener("click", closePanel);

const note = (words) => say($("panel-note"), words);
const unless = (signal, words) => { if (!signal.aborted) note(words); };

async function openOutput(task) {
  const signal = panel(`Output of Task ${task}`, "waiting for output");
  const screens = new Map();
  try {
    const response = await call(`/api/output/${encodeURIComponent(task)}`, { signal });
    if (!response.ok) throw new Error(await response.text());
    for await (const line of lines(response)) {
      if (line.end !== undefined) return note(line.end);
      if (line.missing) {
        append("err", [`[${line.missing} bytes are left out]`]);
        continue;
      }
      note("live");
      // A step's two outputs are two texts, each with lines that go on.
      const key = `${line.step}/${line.output}`;
      if (!screens.has(key)) {
        append("step", [`${line.step}${line.output === "stderr" ? ", standard error" : ""}`]);
        const block = document.createElement("div");
        if (line.output === "stderr") block.className = "err";
        $("screen").append(block);
        screens.set(key, new Terminal(block));
      }
      const atEnd = $("screen").scrollHeight - $("screen").scrollTop - $("screen").clientHeight < 40;
      screens.get(key).write(new TextEncoder().encode(line.text.replaceAll("\n", "\r\n")));
      screens.get(key).draw(false);
      if (atEnd) $("screen").scrollTop = $("screen").scrollHeight;
    }
  } catch (error) {
    unless(signal, `ended: ${error.message}`);
  }
}

function append(style, texts) {
  for (const text of texts) $("screen").append(lineOf([...text].map((char) => ({ char, style }))));
}

// Columns and rows that there is room for.
function size() {
  const probe = document.createElement("span");
  probe.textContent = "0".repeat(100);
  $("screen").append(probe);
  const box = probe.getBoundingClientRect();
  probe.remove();
  const line = parseFloat(getComputedStyle($("screen")).lineHeight);
  const columns = Math.floor(($("screen").clientWidth - 32) / (box.width / 100));
  return [Math.max(20, Math.min(columns, 500)), Math.max(5, Math.floor(($("screen").clientHeight - 16) / line))];
}

async function openTerminal(sandbox) {
  const signal = panel(`Terminal in Sandbox ${sandbox}`, "Ctrl+] leaves it");
  const id = crypto.randomUUID();
  const [columns, rows] = size();
  const terminal = new Terminal($("screen"));
  // One call after the other, so that keys arrive in order.
  let sent = Promise.resolve();
  let waiting = "";
  const post = (path, body) => call(path, { method: "POST", body, signal });
  const send = (text) => {
    waiting += text;
    sent = sent.then(async () => {
      const now = waiting;
      waiting = "";
      if (!now) return;
      const response = await post(`/api/input/${id}`, now);
      if (!response.ok) throw new Error(await response.text());
    }).catch((error) => unless(signal, `not sent: ${error.message}`));
  };
  const keys = (event) => {
    if (event.ctrlKey && event.key === "]") {
      event.preventDefault();
      $("close").focus();
      return;
    }
    const bytes = bytesOf(event);
    if (bytes === null) return;
    event.preventDefault();
    send(bytes);
  };
  const paste = (event) => {
    event.preventDefault();
    send(event.clipboardData.getData("text").replaceAll("\n", "\r"));
  };
  $("screen").addEventListener("keydown", keys, { signal });
  $("screen").addEventListener("paste", paste, { signal });
  const resized = () => post(`/api/size/${id}/${size().join("/")}`).catch(() => {});
  window.addEventListener("resize", resized, { signal });
  try {
    const response = await post(`/api/open/${encodeURIComponent(sandbox)}/${id}/${columns}/${rows}`);
    if (!response.ok) throw new Error(await response.text());
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return unless(signal, "the shell has ended");
      terminal.write(value);
    }
  } catch (error) {
    unless(signal, `ended: ${error.message}`);
  }
}

if (token) follow();
else $("link").textContent = "open the address that kubectl arl ui printed: it ends in a token";
