// Elements that stay while what they show changes.

// One element an object, kept while the object is there, so that what has the focus keeps it.
export function keyed(parent, objects, tag, render) {
  const old = new Map([...parent.children].map((element) => [element.dataset.name, element]));
  const names = new Set(objects.map((object) => object.name));
  // First, or all that come after one that is gone would be moved, and lose the focus.
  for (const [name, element] of old) if (!names.has(name)) element.remove();
  let before = parent.firstElementChild;
  for (const object of objects) {
    let element = old.get(object.name);
    if (!element) {
      element = document.createElement(tag);
      element.dataset.name = object.name;
    }
    render(element, object);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
}

export function part(parent, tag, className, text) {
  let element = parent.querySelector(`:scope > .${className}`);
  if (!element) {
    element = document.createElement(tag);
    element.className = className;
    parent.append(element);
  }
  if (text !== undefined && element.textContent !== text) element.textContent = text;
  return element;
}

export function row(element, cells, created, message) {
  cells.forEach(([text, className], index) => {
    const cell = element.cells[index] || element.insertCell();
    if (cell.textContent !== text) cell.textContent = text;
    cell.className = className || "";
  });
  element.dataset.created = created;
  const cell = element.cells[cells.length] || element.insertCell();
  if (cell.textContent !== message) cell.textContent = message;
  cell.className = "message";
}

export function button(element, words, label, act, disabled) {
  let found = element.querySelector("button");
  if (!found) {
    found = document.createElement("button");
    found.type = "button";
    found.addEventListener("click", act);
    element.insertCell().append(found);
  }
  found.textContent = words;
  found.setAttribute("aria-label", label);
  found.disabled = disabled;
}

// What has a role that is read out is read out again each time it is set.
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
