// The live log: at most data-most lines, following the end unless the reader has scrolled up.
(() => {
  "use strict";
  const log = document.getElementById("log");
  const said = document.getElementById("said");
  const pause = document.getElementById("pause");
  const most = Number(log.dataset.most);
  let paused = false;
  let waiting = [];
  pause.hidden = false;
  log.scrollTop = log.scrollHeight;

  function make(name, text, parent) {
    const element = document.createElement(name);
    element.textContent = text;
    parent.append(element);
    return element;
  }

  // The same elements as in logs.html.
  function render(line) {
    const has = Object.keys(line.fields).length > 0;
    const row = document.createElement(has ? "details" : "p");
    row.className = line.level;
    row.dataset.when = line.when;
    const head = has ? make("summary", "", row) : row;
    make("time", line.clock, head);
    head.append(" ");
    make("b", line.level, head);
    head.append(` ${line.text}`);
    if (!has) return row;
    if (line.fields.model) make("a", "Open the request", row).href = `/_/requests/${encodeURIComponent(line.fields.id)}`;
    make("pre", JSON.stringify(line.fields, null, 2), row);
    return row;
  }

  function add(line) {
    if (paused) {
      waiting.push(line);
      if (waiting.length > most) waiting.shift();
      said.textContent = `${waiting.length} new lines`;
      return;
    }
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    // Workers send their lines with different delays.
    let after = log.lastElementChild;
    for (let steps = 0; after && steps < 50 && after.dataset.when > line.when; steps += 1) after = after.previousElementSibling;
    if (after) after.after(render(line)); else log.prepend(render(line));
    while (log.childElementCount > most) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    said.textContent = "";
    if (!paused) {
      const lines = waiting;
      waiting = [];
      lines.forEach(add);
    }
  });
  const source = new EventSource(log.dataset.stream);
  source.addEventListener("message", (event) => add(JSON.parse(event.data)));
  source.addEventListener("open", () => { if (!paused) said.textContent = "live"; });
  source.addEventListener("error", () => { said.textContent = "no connection; tries again"; });
})();
