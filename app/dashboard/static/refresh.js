// Loads the overview anew now and then, and leaves its reader where they were.
"use strict";
const PERIOD = 5000;

const nameOf = (element) => element?.getAttribute("href") ?? element?.getAttribute("aria-label") ?? element?.id;

function isBusy(main) {
  const isScrolled = [...main.querySelectorAll(".scroll, pre")].some((each) => each.scrollLeft > 0);
  return document.hidden || isScrolled || String(getSelection()) !== "";
}

async function refresh() {
  const main = document.querySelector("main[data-refresh]");
  if (main === null || isBusy(main)) return;
  try {
    const reply = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!reply.ok) return;
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").querySelector("main[data-refresh]");
    if (fresh === null || isBusy(main)) return;
    const focused = main.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    main.replaceWith(document.adoptNode(fresh));
    if (focused === null) return;
    const again = [fresh, ...fresh.querySelectorAll("a, [tabindex]")].find((each) => nameOf(each) === focused);
    again?.focus({ preventScroll: true });
  } catch {
    // The gateway may be restarting; the next round asks again.
  }
}

setInterval(refresh, PERIOD);
