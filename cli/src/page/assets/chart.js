// How full a pool was, as a picture.

const SPAN = 10 * 60 * 1000;
const LEAST = 60 * 1000;
const svg = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);

export function chart(card, pool) {
  let picture = card.querySelector("svg");
  if (!picture) {
    picture = svg("svg");
    picture.setAttribute("viewBox", "0 0 600 100");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("role", "img");
    for (const name of ["ready", "wanted", "waiting"]) {
      const path = svg("path");
      path.setAttribute("class", name);
      picture.append(path);
    }
    card.append(picture);
  }
  picture.setAttribute("aria-label", `Pool ${pool.name}: ${pool.ready} of ${pool.wanted} ready`);
}

// Steps: a value holds until the next.
export function drawChart(picture, samples, until) {
  // As far as is known, or ten minutes.
  const from = Math.max(until - SPAN, Math.min(samples[0]?.[0] ?? until, until - LEAST));
  while (samples.length > 1 && samples[1][0] <= until - SPAN) samples.shift();
  const most = Math.max(1, ...samples.flatMap((sample) => sample.slice(1)));
  const x = (at) => Math.max(0, (at - from) / (until - from) * 600).toFixed(1);
  const y = (value) => (97 - value / most * 92).toFixed(1);
  const path = (index) => samples.map((sample, n) => {
    const end = n + 1 < samples.length ? samples[n + 1][0] : until;
    return `${n ? "L" : "M"}${x(sample[0])} ${y(sample[index])}L${x(end)} ${y(sample[index])}`;
  }).join("");
  if (!samples.length) return;
  picture.querySelector(".ready").setAttribute("d", `${path(1)}L600 97L${x(samples[0][0])} 97Z`);
  picture.querySelector(".wanted").setAttribute("d", path(2));
  picture.querySelector(".waiting").setAttribute("d", samples.some((s) => s[3]) ? path(3) : "");
}
