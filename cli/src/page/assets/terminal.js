// A plain terminal: lines of text with colours. It knows CR, LF, backspace, tab, moves within a line, and how to erase; programs are told
// that it is "dumb", and ask for no more. Nothing that comes from a pod is ever read as HTML.

const LINES_MAX = 5000;
// A pod decides how long its lines are, not how much a browser holds and draws again.
const COLUMNS_MAX = 4096;

// Of [text, class] runs, as one element.
export function lineOf(cells) {
  const line = document.createElement("div");
  for (let at = 0; at < cells.length;) {
    const run = document.createElement("span");
    run.className = cells[at].style;
    let text = "";
    for (; at < cells.length && cells[at].style === run.className; at += 1) text += cells[at].char;
    run.textContent = text;
    line.append(run);
  }
  if (!cells.length) line.textContent = "\u200b";
  return line;
}

export class Terminal {
  constructor(screen) {
    this.screen = screen;
    this.decoder = new TextDecoder();
    this.pending = "";
    this.clear();
  }

  clear() {
    this.cells = [];
    this.column = 0;
    this.style = "";
    this.current = lineOf([]);
    this.screen.replaceChildren(this.current);
  }

  write(bytes) {
    const atEnd = this.screen.scrollHeight - this.screen.scrollTop - this.screen.clientHeight < 40;
    let text = this.pending + this.decoder.decode(bytes, { stream: true });
    this.pending = "";
    for (let at = 0; at < text.length;) {
      const code = text.codePointAt(at);
      const char = String.fromCodePoint(code);
      if (char === "\x1b") {
        const length = this.escape(text.slice(at));
        if (length === 0) {
          // The rest of the sequence has not come.
          this.pending = text.slice(at);
          break;
        }
        at += length;
        continue;
      }
      at += char.length;
      this.put(char);
    }
    this.draw();
    if (atEnd) this.screen.scrollTop = this.screen.scrollHeight;
  }

  put(char) {
    if (char === "\n") return this.feed();
    if (char === "\r") this.column = 0;
    else if (char === "\b") this.column = Math.max(0, this.column - 1);
    else if (char === "\t") do this.set(" "); while (this.column % 8);
    else if (char >= " " && char !== "\x7f") this.set(char);
  }

  set(char) {
    if (this.column >= COLUMNS_MAX) {
      this.feed();
      this.column = 0;
    }
    while (this.cells.length < this.column) this.cells.push({ char: " ", style: "" });
    this.cells[this.column] = { char, style: this.style };
    this.column += 1;
  }

  // The column stays: a tty sends a carriage return too.
  feed() {
    this.draw(false);
    this.cells = [];
    this.current = lineOf([]);
    this.screen.append(this.current);
    while (this.screen.childElementCount > LINES_MAX) this.screen.firstElementChild.remove();
  }

  // The length of the sequence that the text begins with, which is obeyed or left out; 0: more must come.
  escape(text) {
    if (text.length < 2) return 0;
    const csi = /^\x1b\[([0-9;?]*)[ -/]*([@-~])/.exec(text);
    if (csi) {
      this.control(csi[1], csi[2]);
      return csi[0].length;
    }
    // A title, for one.
    const osc = /^\x1b\][^\x07\x1b]*(\x07|\x1b\\)/.exec(text);
    if (osc) return osc[0].length;
    const unfinished = text[1] === "[" || text[1] === "]";
    if (unfinished && text.length < 4096) return 0;
    return 2;
  }

  control(parameters, final) {
    const numbers = parameters.split(";").map((n) => parseInt(n, 10) || 0);
    const count = Math.min(Math.max(1, numbers[0]), 1000);
    if (final === "m") this.colour(numbers);
    else if (final === "C") this.column = Math.min(this.column + count, COLUMNS_MAX);
    else if (final === "D") this.column = Math.max(0, this.column - count);
    else if (final === "G") this.column = count - 1;
    else if (final === "K" && numbers[0] === 0) this.cells.length = Math.min(this.cells.length, this.column);
    else if (final === "K" && numbers[0] === 2) this.cells = [];
    else if (final === "P") this.cells.splice(this.column, count);
    else if (final === "@") {
      this.cells.splice(this.column, 0, ...Array.from({ length: count }, () => ({ char: " ", style: "" })));
      this.cells.length = Math.min(this.cells.length, COLUMNS_MAX);
    }
    else if (final === "J" && numbers[0] >= 2) this.clear();
  }

  colour(numbers) {
    const set = new Set(this.style.split(" ").filter(Boolean));
    for (let at = 0; at < numbers.length; at += 1) {
      const n = numbers[at];
      const drop = () => { for (const name of set) if (/^c\d$/.test(name)) set.delete(name); };
      if (n === 0) set.clear();
      else if (n === 1) set.add("strong");
      else if (n === 22) set.delete("strong");
      else if (n === 39) drop();
      else if ((n >= 30 && n <= 37) || (n >= 90 && n <= 97)) { drop(); set.add(`c${n % 10}`); }
      // Of 256 colours or more: left out with their parameters.
      else if (n === 38 || n === 48) at += numbers[at + 1] === 5 ? 2 : 4;
    }
    this.style = [...set].join(" ");
  }

  draw(hasCursor = true) {
    let cells = this.cells;
    if (hasCursor) {
      cells = cells.slice();
      while (cells.length <= this.column) cells.push({ char: " ", style: "" });
      const at = cells[this.column];
      cells[this.column] = { char: at.char, style: `${at.style} cursor`.trim() };
    }
    const line = lineOf(cells);
    this.current.replaceWith(line);
    this.current = line;
  }
}

const KEYS = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C",
  ArrowLeft: "\x1b[D", Home: "\x1b[H", End: "\x1b[F", Delete: "\x1b[3~", PageUp: "\x1b[5~", PageDown: "\x1b[6~",
};

// What a key sends; null: it is not for the shell.
export function bytesOf(event) {
  if (event.metaKey || event.isComposing) return null;
  if (event.ctrlKey && !event.altKey) {
    // Copying and pasting stay the browser's.
    if (event.shiftKey || event.key === "v") return null;
    const code = event.key.toUpperCase().charCodeAt(0);
    return event.key.length === 1 && code >= 64 && code < 96 ? String.fromCharCode(code - 64) : null;
  }
  // It leaves the screen, as it leaves any other element.
  if (event.shiftKey && event.key === "Tab") return null;
  if (event.altKey && !event.ctrlKey && /^[a-z]$/i.test(event.key)) return `\x1b${event.key}`;
  if (KEYS[event.key]) return KEYS[event.key];
  return event.key.length === 1 ? event.key : null;
}
