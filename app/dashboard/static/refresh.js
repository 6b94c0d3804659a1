// Loads the overview anew now and then, unless its reader is at work in it.
"use strict";
const PERIOD = 5000;

async function refresh() {
  const main = document.querySelector("main[data-refresh]");
  const busy = main === null || main.contains(document.activeElement) || String(getSelection()) !== "";
  if (busy || document.hidden) return;
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!reply.ok) return;
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").querySelector("main[data-refresh]");
    if (fresh !== null) main.replaceWith(document.adoptNode(fresh));
  } catch {
    // The gateway may be restarting; the next round asks again.
  }
}

setInterval(refresh, PERIOD);
