// Draws charts from the tables below them: rows with data-x (unix seconds), cells with data-y, one line per heading.
(() => {
  "use strict";
  const COLOURS = ["--one", "--two", "--three", "--four", "--warn", "--soft", "--strong-line"];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function read(figure) {
    const names = [...figure.querySelectorAll("thead th")].slice(1).map((cell) => cell.textContent);
    const rows = [...figure.querySelectorAll("tbody tr")];
    const scale = Number(figure.dataset.scale || 1);
    const columns = names.map((_, at) => rows.map((row) => Number(row.querySelectorAll("[data-y]")[at].dataset.y) * scale));
    return { names, rows, times: rows.map((row) => Number(row.dataset.x)), columns };
  }

  // With `most`, the marks of one axis get as many digits as its largest needs.
  function spell(value, unit, most = value) {
    if (unit === "$") return "$" + value.toFixed(most && most < 0.1 ? 4 : 2);
    return value >= 1e6 ? (value / 1e6).toFixed(1) + "M" : value >= 1e4 ? (value / 1e3).toFixed(0) + "k" : String(Math.round(value * 100) / 100);
  }

  // The date at the start of a day, else the time; in UTC like all times here.
  function spellTime(seconds) {
    const text = new Date(seconds * 1000).toISOString();
    return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
  }

  function draw(figure) {
    const { names, rows, times, columns } = read(figure);
    if (times.length < 2) return;
    figure.querySelector(".plot")?.remove();
    const place = document.createElement("div");
    place.className = "plot";
    figure.querySelector("figcaption").after(place);
    const unit = figure.dataset.unit || "";
    const bars = figure.dataset.chart === "bars";
    // Stacked: each column includes those before it, and the first is drawn last.
    const stacked = bars ? columns.map((_, at) => times.map((__, row) => columns.slice(0, at + 1).reduce((sum, column) => sum + column[row], 0))) : columns;
    const order = bars ? names.map((_, at) => names.length - 1 - at) : names.map((_, at) => at);
    const width = Number(rows[0].dataset.width || 0);
    const grid = { stroke: css("--line"), width: 1 };
    const axis = { stroke: css("--soft"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const series = order.map((at) => ({
      label: names[at],
      stroke: css(COLOURS[at % COLOURS.length]),
      width: bars ? 0 : 1.75,
      fill: bars ? css(COLOURS[at % COLOURS.length]) : undefined,
      points: { show: false },
      paths: bars ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
      value: (_, __, ___, index) => (index == null ? "" : spell(columns[at][index], unit)),
    }));
    const plot = new uPlot({
      width: place.clientWidth,
      height: bars ? 160 : 240,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      // Bars at the edges are as wide as all others.
      scales: { x: { range: (_, low, high) => (bars ? [low - width / 2, high + width / 2] : [low, high]) }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      series: [{ value: (_, at) => (at == null ? "" : new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")) }, ...series],
      axes: [{ ...axis, space: 70, values: (_, values) => values.map(spellTime) }, { ...axis, size: 62, values: (_, values) => values.map((value) => spell(value, unit, Math.max(...values))) }],
      cursor: { y: false },
      legend: { live: true },
    }, [times, ...order.map((at) => stacked[at])], place);
    if (figure.dataset.zoom) {
      plot.over.addEventListener("click", () => {
        const link = plot.cursor.idx != null && rows[plot.cursor.idx].querySelector("a");
        if (link) location.href = link.href;
      });
    }
    figure.plot = plot;
  }

  const figures = [...document.querySelectorAll("[data-chart]")];
  const drawAll = () => { for (const figure of figures) draw(figure); };
  drawAll();
  document.addEventListener("theme", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; drawAll(); } });
})();
