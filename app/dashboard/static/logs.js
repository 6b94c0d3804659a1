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

  function add(level, text) {
    if (paused) {
      waiting.push([level, text]);
      if (waiting.length > most) waiting.shift();
      said.textContent = `${waiting.length} new lines`;
      return;
    }
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
    const line = document.createElement("span");
    line.className = level;
    line.textContent = text + "\n";
    // Workers send their lines with different delays.
    let after = log.lastElementChild;
    for (let steps = 0; after && steps < 50 && after.textContent.slice(0, 23) > text.slice(0, 23); steps += 1) after = after.previousElementSibling;
    if (after) after.after(line); else log.prepend(line);
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
      for (const [level, text] of lines) add(level, text);
    }
  });
  const source = new EventSource(log.dataset.stream);
  for (const level of ["debug", "info", "warn", "error"]) source.addEventListener(`level-${level}`, (event) => add(level, event.data));
  source.addEventListener("open", () => { if (!paused) said.textContent = "live"; });
  source.addEventListener("error", () => { said.textContent = "no connection; tries again"; });
})();
