// Shared by all pages: the theme, confirmations before irreversible actions, and limits on live lists.
(() => {
  "use strict";
  const root = document.documentElement;
  const button = document.getElementById("theme");
  if (button) {
    const order = ["", "light", "dark"];
    const tell = () => { button.textContent = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" }[root.dataset.theme || ""]; };
    button.hidden = false;
    tell();
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
      if (next) { root.dataset.theme = next; localStorage.setItem("theme", next); } else { delete root.dataset.theme; localStorage.removeItem("theme"); }
      tell();
      document.dispatchEvent(new Event("theme"));
    });
  }
  // On a narrow screen the row of pages scrolls; the current page is shown.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset && event.target.dataset.ask;
    if (question && !confirm(question)) event.preventDefault();
  });

  // Live rows are added at the top, unless the reader has scrolled down; back at the top the list is reloaded.
  let missed = 0;
  const said = document.getElementById("live-said");
  const tell = (text) => { if (said) { said.textContent = text; said.hidden = !text; } };
  document.addEventListener("htmx:sse:before:message", (event) => {
    if (event.target.id === "live" && window.scrollY > 300) {
      missed += 1;
      tell("Paused while you read. Scroll to the top to refresh the list.");
      event.preventDefault();
    }
  });
  document.addEventListener("htmx:sse:after:connection", () => { document.documentElement.dataset.live = "yes"; });
  window.addEventListener("scroll", () => { if (missed && window.scrollY < 50) location.reload(); }, { passive: true });
  document.addEventListener("htmx:sse:after:message", () => {
    for (const list of document.querySelectorAll("[data-most]")) {
      const rows = list.querySelectorAll("tbody > tr");
      const none = list.querySelector("#none");
      if (none && rows.length > 1) none.remove();
      for (let at = Number(list.dataset.most); at < rows.length; at += 1) rows[at].remove();
    }
  });
})();
