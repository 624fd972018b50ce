// Graphs out of Mermaid's lines: flowcharts, states, classes, entities in layers; and messages between participants.

import { cut, text } from "./charts.js";
import { svg } from "./text.js";

const LETTER = 7.4; // px of a letter, about
const [HIGH, GAP, APART] = [36, 46, 26]; // px of a box, between layers, between boxes
const LONGEST = 34; // letters in a box
const MOST = 200; // boxes

const LABEL = String.raw`(?:\[\[?|\(\(?|\(\[|\{\{?|>|\[\()"?(.*?)"?(?:\]\]?|\)\)?|\]\)|\}\}?|\)\])`;
const NODE = new RegExp(String.raw`^\s*([\w.\u00c0-\uffff]+(?:-[\w.]+)*|\[\*\])\s*(?:${LABEL})?(?::::?\w+)?\s*`);
const ARROW = /^(?:<?(?:--+|==+|-\.+-?)(?:\s*([^-=>|.][^->=|]*?)\s*(?:--+|==+|\.+-?))?[>xo]?|~~~)\s*(?:\|"?([^|"]*)"?\|)?/;
const RELATION = /^(\S+)\s+(?:"[^"]*"\s+)?([<|o*}{.-]*(?:--|\.\.)[>|o*}{.-]*)\s+(?:"[^"]*"\s+)?(\S+)(?:\s*:\s*(.+))?$/;

export function graph(lines, title) {
  const flow = /^(flowchart|graph)\b/.test(lines[0]);
  const across = /\b(LR|RL)\b/.test(lines[0]) || lines.some((line) => /^direction (LR|RL)$/.test(line));
  const nodes = new Map();
  const edges = [];
  const known = (id, label) => {
    if (!nodes.has(id)) nodes.set(id, { id, label: id === "[*]" ? "●" : id });
    if (label !== undefined) nodes.get(id).label = label.replace(/<br\s*\/?>/g, " ");
    return id;
  };
  for (const line of lines.slice(1)) {
    if (/^(subgraph|end|direction|style|classDef|class|linkStyle|note|state .*\{|\}|namespace)\b/.test(line) || line === "}") continue;
    if (flow) chain(line, known, edges);
    else relation(line, known, edges);
  }
  if (!nodes.size || nodes.size > MOST) return null;
  return { svg: layered([...nodes.values()], edges, across), title, told: edges.map(({ from, to, label }) => `${nodes.get(from).label} to ${nodes.get(to).label}${label ? `: ${label}` : ""}`) };
}

// "A[Start] --> B{Works?} -- yes --> C & D"
function chain(line, known, edges) {
  let rest = line;
  let before = [];
  let label = "";
  while (rest) {
    const here = [];
    for (;;) {
      const found = NODE.exec(rest);
      if (!found) return;
      here.push(known(found[1], found[2]));
      rest = rest.slice(found[0].length);
      if (!rest.startsWith("&")) break;
      rest = rest.slice(1);
    }
    for (const from of before) for (const to of here) edges.push({ from, to, label });
    const arrow = ARROW.exec(rest);
    if (!arrow || !arrow[0]) return;
    label = (arrow[1] || arrow[2] || "").trim();
    before = here;
    rest = rest.slice(arrow[0].length);
  }
}

// "Idle --> Busy : job", "Animal <|-- Dog", "CUSTOMER ||--o{ ORDER : places"
function relation(line, known, edges) {
  const alias = /^state\s+"(.+)"\s+as\s+(\S+)$/.exec(line);
  if (alias) return void known(alias[2], alias[1]);
  const found = RELATION.exec(line);
  if (found) edges.push({ from: known(found[1]), to: known(found[3]), label: (found[4] || "").replaceAll('"', "").trim(), plain: !/[<>]/.test(found[2]), back: /^<\|/.test(found[2]) });
}

function layered(nodes, edges, across) {
  const layer = new Map(nodes.map((node) => [node.id, 0]));
  const order = new Map(nodes.map((node, at) => [node.id, at]));
  // Each box stands behind those that lead to it. In a circle, the edge to what was named earlier leads back.
  for (let round = 0; round < nodes.length; round += 1) {
    let moved = false;
    for (const { from, to } of edges) {
      if (from === to || to === "[*]" || layer.get(to) > layer.get(from) || layer.get(from) + 1 >= nodes.length) continue;
      if (order.get(to) < order.get(from) && reaches(to, from, edges)) continue;
      layer.set(to, layer.get(from) + 1);
      moved = true;
    }
    if (!moved) break;
  }
  const rows = [];
  for (const node of nodes) (rows[layer.get(node.id)] ??= []).push(node);
  for (const node of nodes) Object.assign(node, { words: cut(node.label, LONGEST), wide: Math.max(40, Math.min(node.label.length, LONGEST) * LETTER + 22) });
  const filled = rows.filter(Boolean);
  const long = (row) => row.reduce((sum, node) => sum + (across ? HIGH : node.wide) + APART, -APART);
  const most = Math.max(...filled.map(long));
  let depth = 4;
  for (const row of filled) {
    let at = 4 + (most - long(row)) / 2;
    const thick = across ? Math.max(...row.map((node) => node.wide)) : HIGH;
    for (const node of row) {
      Object.assign(node, across ? { x: depth + (thick - node.wide) / 2, y: at } : { x: at, y: depth });
      at += (across ? HIGH : node.wide) + APART;
    }
    depth += thick + (across ? GAP * 2 : GAP);
  }
  const [width, height] = across ? [depth - GAP * 2 + 8, most + 8] : [most + 8, depth - GAP + 8];
  const picture = svg("svg", { viewBox: `0 0 ${Math.ceil(width + 20)} ${Math.ceil(height)}`, width: Math.ceil(width + 20), height: Math.ceil(height) });
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (const edge of edges) picture.append(...drawn(byId.get(edge.from), byId.get(edge.to), edge, across));
  for (const node of nodes) picture.append(svg("rect", { x: node.x, y: node.y, width: node.wide, height: HIGH, rx: 7, class: "box" }), text(node.x + node.wide / 2, node.y + 23, node.words, { "text-anchor": "middle" }));
  return picture;
}

function reaches(from, to, edges) {
  const seen = new Set([from]);
  const ahead = [from];
  while (ahead.length) {
    const at = ahead.pop();
    if (at === to) return true;
    for (const edge of edges) if (edge.from === at && !seen.has(edge.to)) seen.add(edge.to), ahead.push(edge.to);
  }
  return false;
}

function drawn(from, to, { label, plain, back }, across) {
  const middle = (node) => [node.x + node.wide / 2, node.y + HIGH / 2];
  let [start, end] = [middle(from), middle(to)];
  if (from === to) {
    const right = from.x + from.wide;
    return [svg("path", { d: `M${right} ${start[1] - 8}q18 8 0 16`, class: "edge" }), text(right + 12, start[1] + 4, cut(label, 24), { class: "dim" })];
  }
  if (across) [start, end] = start[0] < end[0] ? [[from.x + from.wide, start[1]], [to.x, end[1]]] : [[from.x, start[1]], [to.x + to.wide, end[1]]];
  else if (from.y !== to.y) [start, end] = start[1] < end[1] ? [[start[0], from.y + HIGH], [end[0], to.y]] : [[start[0], from.y], [end[0], to.y + HIGH]];
  else [start, end] = start[0] < end[0] ? [[from.x + from.wide, start[1]], [to.x, end[1]]] : [[from.x, start[1]], [to.x + to.wide, end[1]]];
  const found = [svg("path", { d: `M${start.join(" ")}L${end.join(" ")}`, class: "edge" })];
  if (!plain) found.push(arrowHead(...(back ? [end, start] : [start, end])));
  if (label) found.push(text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 4, cut(label, 24), { class: "dim onto", "text-anchor": "middle" }));
  return found;
}

function arrowHead([x1, y1], [x2, y2]) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const corner = (turn) => `${x2 - 9 * Math.cos(angle + turn)} ${y2 - 9 * Math.sin(angle + turn)}`;
  return svg("path", { d: `M${x2} ${y2}L${corner(0.4)}L${corner(-0.4)}Z`, class: "head" });
}

const MESSAGE = /^(\S+?)\s*(--?(?:>>?|x|\)))\s*[+-]?\s*(\S+?)\s*:\s*(.*)$/;

export function sequence(lines, title) {
  const names = new Map();
  const known = (id, name) => {
    if (!names.has(id) || name) names.set(id, name || names.get(id) || id);
    return id;
  };
  const messages = [];
  for (const line of lines.slice(1)) {
    const one = /^(?:create\s+)?(?:participant|actor)\s+(\S+)(?:\s+as\s+(.+))?$/.exec(line);
    const note = /^note\s+(?:over|left of|right of)\s+([^:,]+)[^:]*:\s*(.*)$/i.exec(line);
    const block = /^(loop|alt|else|opt|par|and|critical|break)\b\s*(.*)$/.exec(line);
    const said = MESSAGE.exec(line);
    if (one) known(one[1], one[2]);
    else if (note) messages.push({ from: known(note[1].trim()), to: null, words: note[2] });
    else if (block) messages.push({ block: `${block[1]} ${block[2]}` });
    else if (said) messages.push({ from: known(said[1]), to: known(said[3]), words: said[4], dashed: said[2].startsWith("--") });
  }
  if (!messages.some((each) => each.to) || names.size > MOST) return null;
  const ids = [...names.keys()];
  const wide = Math.min(260, Math.max(130, ...messages.map((each) => (each.words || "").length * LETTER * 0.9 + 20)));
  const at = (id) => ids.indexOf(id) * wide + wide / 2;
  const height = 60 + messages.length * 34;
  const picture = svg("svg", { viewBox: `0 0 ${ids.length * wide} ${height}`, width: ids.length * wide, height });
  for (const id of ids) {
    picture.append(svg("path", { d: `M${at(id)} 36V${height - 4}`, class: "rule" }), svg("rect", { x: at(id) - wide / 2 + 8, y: 4, width: wide - 16, height: 32, rx: 7, class: "box" }));
    picture.append(text(at(id), 25, cut(names.get(id), Math.floor((wide - 30) / LETTER)), { "text-anchor": "middle" }));
  }
  for (const [number, each] of messages.entries()) {
    const y = 66 + number * 34;
    const words = cut(each.block || each.words || "", 60);
    if (each.block) picture.append(text(4, y, words, { class: "dim strong" }));
    else if (each.to === null) picture.append(text(at(each.from), y, words, { class: "dim onto", "text-anchor": "middle" }));
    else if (each.from === each.to) picture.append(svg("path", { d: `M${at(each.from)} ${y - 8}h24v14h-18`, class: "edge" }), arrowHead([at(each.from) + 24, y + 6], [at(each.from) + 4, y + 6]), text(at(each.from) + 30, y + 2, words));
    else picture.append(svg("path", { d: `M${at(each.from)} ${y}H${at(each.to)}`, class: each.dashed ? "edge dashed" : "edge" }), arrowHead([at(each.from), y], [at(each.to), y]), text((at(each.from) + at(each.to)) / 2, y - 6, words, { "text-anchor": "middle" }));
  }
  return { svg: picture, title, told: messages.filter((each) => each.to).map((each) => `${names.get(each.from)} to ${names.get(each.to)}: ${each.words}`) };
}
