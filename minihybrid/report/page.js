// Shows the values under the pointer, or at the place that the arrow keys choose.
for (const chart of document.querySelectorAll(".chart")) {
  const told = JSON.parse(chart.querySelector("script").textContent);
  const plot = chart.querySelector(".plot");
  const cursor = chart.querySelector(".cursor");
  const output = chart.querySelector("output");
  let place = 1;

  function nearest(xs, x) {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= x) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  }

  function words(value) {
    return told.percent ? `${(100 * value).toFixed(2)} %` : `${+value.toPrecision(4)}`;
  }

  function show() {
    const x = told.low + place * (told.high - told.low);
    const parts = [];
    const near = 0.01 * (told.high - told.low);
    let shown;
    for (const series of told.series) {
      const i = nearest(series.x, x);
      const last = series.x.length - 1;
      // A line has values all along, a dot only where it is.
      const there = series.exact
        ? Math.abs(series.x[i] - x) <= near
        : series.x[0] - near <= x && x <= series.x[last] + near;
      if (!there) continue;
      shown ??= series.x[i];
      parts.push(series.notes[i] ?? `${series.label} ${words(series.y[i])}`);
    }
    shown ??= Math.floor(x);
    const phase = told.phases.find(([, start, end]) => start <= shown && shown < end);
    const head = `${told.x} ${Math.round(10 * shown) / 10}${phase ? ` (${phase[0]})` : ""}`;
    output.textContent = [head, ...parts].join(" · ");
    cursor.style.left = `${100 * place}%`;
    cursor.style.display = "block";
  }

  function hide() {
    output.textContent = "";
    cursor.style.display = "none";
  }

  function follow(event) {
    const box = plot.getBoundingClientRect();
    place = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    show();
  }

  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", hide);
  chart.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.01, ArrowRight: 0.01 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    place = Math.min(1, Math.max(0, place + by));
    show();
  });
  chart.addEventListener("blur", hide);
}
