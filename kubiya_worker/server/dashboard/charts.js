// Charts out of Mermaid's lines: shares of a whole, points by two measures, tasks over time, steps with a score.

import { el, svg } from "./text.js";

const COLOURS = 8; // classes c0 … c7 of the style sheet
const DAY = 86_400_000;
const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY, w: 7 * DAY, M: 30 * DAY, y: 365 * DAY };

export function text(x, y, words, attributes = {}) {
  const made = svg("text", { x, y, ...attributes });
  made.textContent = words;
  return made;
}

export function cut(words, most) {
  return words.length > most ? `${words.slice(0, most - 1)}…` : words;
}

export function pie(lines, title) {
  const parts = lines.slice(1).map((line) => /^"(.+)"\s*:\s*([\d.]+)$/.exec(line)).filter(Boolean).map(([, name, value]) => ({ name, value: Number(value) }));
  const sum = parts.reduce((total, part) => total + part.value, 0);
  if (!sum) return null;
  const picture = svg("svg", { viewBox: "0 0 200 200", width: 200, height: 200 });
  let angle = -Math.PI / 2;
  for (const [number, part] of parts.entries()) {
    const share = part.value / sum;
    const from = [100 + 96 * Math.cos(angle), 100 + 96 * Math.sin(angle)];
    angle += share * 2 * Math.PI;
    const to = [100 + 96 * Math.cos(angle), 100 + 96 * Math.sin(angle)];
    const look = `slice c${number % COLOURS}`;
    if (share > 0.9999) picture.append(svg("circle", { cx: 100, cy: 100, r: 96, class: look }));
    else picture.append(svg("path", { d: `M100 100L${from.join(" ")}A96 96 0 ${share > 0.5 ? 1 : 0} 1 ${to.join(" ")}Z`, class: look }));
  }
  const rows = parts.map((part, number) => {
    const key = svg("svg", { viewBox: "0 0 10 10", width: 12, height: 12, "aria-hidden": "true" }, svg("rect", { width: 10, height: 10, rx: 2, class: `slice c${number % COLOURS}` }));
    return el("li", {}, key, ` ${part.name}: ${part.value.toLocaleString("en")} (${Math.round((1000 * part.value) / sum) / 10} %)`);
  });
  return { svg: picture, title, legend: el("ul", { class: "legend" }, ...rows), told: parts.map((part) => `${part.name} ${part.value}`) };
}

export function quadrant(lines, title) {
  const picture = svg("svg", { viewBox: "0 0 460 400", width: 460, height: 400 });
  const axes = { x: ["", ""], y: ["", ""] };
  const names = ["", "", "", ""];
  const points = [];
  for (const line of lines.slice(1)) {
    const axis = /^([xy])-axis\s+(.+?)(?:\s+-->\s+(.+))?$/.exec(line);
    const area = /^quadrant-([1-4])\s+(.+)$/.exec(line);
    const point = /^(.+?)\s*:\s*\[\s*([\d.]+)\s*,\s*([\d.]+)\s*\]/.exec(line);
    if (axis) axes[axis[1]] = [axis[2], axis[3] || ""];
    else if (area) names[area[1] - 1] = area[2];
    else if (point) points.push({ name: point[1].replace(/:::.*$/, ""), x: Number(point[2]), y: Number(point[3]) });
  }
  const [left, top, wide, high] = [30, 10, 420, 350];
  picture.append(svg("rect", { x: left, y: top, width: wide, height: high, class: "frame" }));
  picture.append(svg("path", { d: `M${left + wide / 2} ${top}v${high}M${left} ${top + high / 2}h${wide}`, class: "rule" }));
  const corners = [[0.75, 0.25], [0.25, 0.25], [0.25, 0.75], [0.75, 0.75]];
  for (const [number, name] of names.entries()) if (name) picture.append(text(left + corners[number][0] * wide, top + corners[number][1] * high - 60, cut(name, 26), { class: "dim", "text-anchor": "middle" }));
  picture.append(text(left, 380, cut(axes.x[0], 26)), text(left + wide, 380, cut(axes.x[1], 26), { "text-anchor": "end" }));
  picture.append(text(0, 0, cut(axes.y[0], 24), { transform: `translate(18 ${top + high}) rotate(-90)` }), text(0, 0, cut(axes.y[1], 24), { transform: `translate(18 ${top}) rotate(-90)`, "text-anchor": "end" }));
  for (const { name, x, y } of points) {
    const [at, up] = [left + x * wide, top + (1 - y) * high];
    picture.append(svg("circle", { cx: at, cy: up, r: 5, class: "slice c0" }), text(x > 0.7 ? at - 9 : at + 9, up + 4, cut(name, 24), { "text-anchor": x > 0.7 ? "end" : "start" }));
  }
  return points.length ? { svg: picture, title, told: points.map(({ name, x, y }) => `${name} ${x}, ${y}`) } : null;
}

// Tasks over time (gantt), or steps with a score from 1 to 5 (journey): a bar for each.
export function bars(lines, title) {
  const rows = lines[0] === "gantt" ? tasks(lines) : steps(lines);
  const drawn = rows.filter((row) => !row.section);
  if (!drawn.length) return null;
  const [from, to] = [Math.min(...drawn.map((row) => row.from)), Math.max(...drawn.map((row) => row.to))];
  const [left, wide, high] = [190, 400, 26];
  const picture = svg("svg", { viewBox: `0 0 ${left + wide + 110} ${rows.length * high + 10}`, width: left + wide + 110, height: rows.length * high + 10 });
  let section = -1;
  for (const [number, row] of rows.entries()) {
    const y = number * high + 6;
    if (row.section) {
      section += 1;
      picture.append(text(0, y + 14, cut(row.section, 70), { class: "strong" }));
      continue;
    }
    const unit = wide / Math.max(1, to - from);
    const width = Math.max(4, (row.to - row.from) * unit);
    picture.append(text(0, y + 14, cut(row.name, 28)), svg("rect", { x: left + (row.from - from) * unit, y, width, height: 18, rx: 4, class: `slice c${Math.max(0, section) % COLOURS}` }));
    picture.append(text(Math.min(left + wide + 6, left + (row.to - from) * unit + 6), y + 14, row.words, { class: "dim" }));
  }
  return { svg: picture, title, told: drawn.map((row) => `${row.name} ${row.words}`) };
}

function tasks(lines) {
  const ends = new Map();
  let last = NaN;
  const rows = [];
  for (const line of lines.slice(1)) {
    const section = /^section\s+(.+)$/.exec(line);
    const task = /^([^:]+):\s*(.+)$/.exec(line);
    if (section) rows.push({ section: section[1] });
    else if (task && !/^(dateFormat|axisFormat|tickInterval|excludes|includes|todayMarker)\b/.test(line)) {
      const parts = task[2].split(",").map((part) => part.trim()).filter((part) => !/^(done|active|crit|milestone)$/.test(part));
      const end = parts.pop();
      const begin = parts.pop();
      const from = begin === undefined ? last : begin.startsWith("after ") ? Math.max(...begin.slice(6).split(/\s+/).map((id) => ends.get(id) ?? NaN)) : Date.parse(begin);
      const long = /^([\d.]+)\s*(ms|[smhdwMy])$/.exec(end);
      const to = long ? from + Number(long[1]) * UNITS[long[2]] : Date.parse(end);
      if (!Number.isFinite(from) || !Number.isFinite(to)) throw new Error("a time that is not understood");
      last = to;
      if (parts.length) ends.set(parts[0], to);
      const day = (at) => new Date(at).toISOString().slice(5, 10);
      rows.push({ name: task[1].trim(), from, to, words: to - from < DAY ? "" : `${day(from)} to ${day(to)}` });
    }
  }
  return rows;
}

function steps(lines) {
  const rows = lines.slice(1).map((line) => {
    const section = /^section\s+(.+)$/.exec(line);
    const step = /^([^:]+):\s*([1-5])\s*(?::\s*(.*))?$/.exec(line);
    if (section) return { section: section[1] };
    return step ? { name: step[1].trim(), from: 0, to: Number(step[2]), words: [step[2], step[3]].filter(Boolean).join(" · ") } : null;
  });
  return rows.filter(Boolean);
}
