// Recorded bodies as foldable trees, and copy buttons. Foreign content is always inserted as text.
(() => {
  "use strict";
  const MOST = 400;

  function spell(value) {
    return JSON.stringify(value);
  }

  function grow(name, value, depth) {
    const item = document.createElement("li");
    const label = name === null ? "" : `${name}: `;
    if (value === null || typeof value !== "object") {
      item.textContent = label + spell(value);
      return item;
    }
    const entries = Array.isArray(value) ? value.map((each, at) => [at, each]) : Object.entries(value);
    const details = document.createElement("details");
    details.open = depth < 2;
    const summary = document.createElement("summary");
    summary.textContent = `${label}${Array.isArray(value) ? `[ ${entries.length} ]` : `{ ${entries.map(([key]) => key).slice(0, 6).join(", ")}${entries.length > 6 ? ", …" : ""} }`}`;
    details.append(summary);
    let filled = false;
    const fill = () => {
      if (filled) return;
      filled = true;
      const list = document.createElement("ul");
      for (const [key, each] of entries.slice(0, MOST)) list.append(grow(key, each, depth + 1));
      if (entries.length > MOST) { const more = document.createElement("li"); more.textContent = `… ${entries.length - MOST} more`; list.append(more); }
      details.append(list);
    };
    if (details.open) fill();
    details.addEventListener("toggle", fill);
    item.append(details);
    return item;
  }

  for (const pre of document.querySelectorAll("pre[data-json]")) {
    let value;
    try { value = JSON.parse(pre.textContent); } catch { continue; }
    const tree = document.createElement("ul");
    tree.className = "tree mono";
    tree.append(grow(null, value, 0));
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    let folded = false;
    const flip = () => {
      folded = !folded;
      tree.hidden = !folded;
      pre.hidden = folded;
      button.textContent = folded ? "As text" : "As a tree";
    };
    pre.before(button, tree);
    flip();
    button.addEventListener("click", flip);
  }
})();
