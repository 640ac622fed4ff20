"use strict";
// The pictures of a sweep: what is brushed in one fades in the other; what is pointed at is told. Where a browser cannot draw them
// (parallel coordinates need WebGL), the pages as they were drawn stay.
addEventListener("load", async () => {
  const settings = { displaylogo: false, responsive: true, displayModeBar: false };
  const read = name => {
    const data = document.getElementById(`linked-${name}-data`);
    return data && JSON.parse(data.textContent);
  };
  const parallel = read("parallel"), pareto = read("pareto");
  if (!parallel || !document.createElement("canvas").getContext("webgl")) return;
  const { told, of } = parallel.shared;
  const show = async (name, content) => {
    const place = document.getElementById(`linked-${name}`), whole = place.closest(".linked");
    whole.hidden = false;
    await Plotly.newPlot(place, content.data, content.layout, settings);
    whole.parentElement.classList.add("is-linked");
    return place;
  };
  const lines = await show("parallel", parallel), marks = pareto && await show("pareto", pareto);
  const counted = document.querySelector(".linked-kept"), point = document.querySelector(".linked-point");
  document.body.append(point);

  const tell = (index, event) => {
    point.innerHTML = told[index]; // escaped where it was made
    point.hidden = false;
    const x = Math.min(event.clientX + 16, innerWidth - point.offsetWidth - 8);
    const below = event.clientY + 16, y = below + point.offsetHeight > innerHeight ? event.clientY - point.offsetHeight - 16 : below;
    point.style.left = `${Math.max(8, x)}px`;
    point.style.top = `${Math.max(8, y)}px`;
  };
  const quiet = () => { point.hidden = true; };
  lines.on("plotly_hover", found => tell(found.curveNumber, found));
  lines.on("plotly_unhover", quiet);
  lines.addEventListener("mouseleave", quiet);
  if (marks) {
    marks.on("plotly_hover", found => tell(found.points[0].customdata, found.event));
    marks.on("plotly_unhover", quiet);
  }

  const filter = () => {
    const brushed = lines.data[0].dimensions.filter(each => each.constraintrange?.length);
    const within = (value, range) => value >= range[0] && value <= range[1];
    const kept = told.map((_, index) => brushed.every(({ values, constraintrange: range }) =>
      Array.isArray(range[0]) ? range.some(each => within(values[index], each)) : within(values[index], range)));
    const count = kept.filter(Boolean).length;
    counted.textContent = `${count} of ${told.length} points kept` + (told.length < of ? `; the sweep has ${of}.` : ".");
    if (marks) Plotly.restyle(marks, {
      selectedpoints: marks.data.map(trace => brushed.length ? trace.customdata.flatMap((index, place) => kept[index] ? [place] : []) : null),
    });
  };
  lines.on("plotly_restyle", filter);
  filter();
});
