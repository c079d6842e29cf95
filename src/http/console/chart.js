// Drawings as inline SVG. Colours come from the style sheet by class; no data becomes markup.

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, String(value));
  for (const child of children) node.append(child);
  return node;
}

function titled(node, text) {
  const title = svg("title");
  title.textContent = text;
  node.append(title);
  return node;
}

const round = (value) => Math.round(value * 10) / 10;

// A line broken where there is no value; a single point becomes a dot.
function pathOf(points, x, y) {
  let path = "";
  let pen = false;
  points.forEach((value, index) => {
    if (value === null || !Number.isFinite(value)) { pen = false; return; }
    path += `${pen ? "L" : "M"}${round(x(index))} ${round(y(value))}`;
    if (!pen && (points[index + 1] ?? null) === null) path += "h0.1";
    pen = true;
  });
  return path;
}

// The course of one score with its two thresholds.
export function sparkline(values, thresholds, level, label) {
  const [width, height, pad] = [132, 30, 3];
  const finite = values.filter((value) => value !== null);
  const top = Math.max(...finite, thresholds[1] * 1.05, 1e-9);
  const x = (index) => pad + (values.length < 2 ? 1 : index / (values.length - 1)) * (width - 2 * pad);
  const y = (value) => height - pad - (value / top) * (height - 2 * pad);
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "spark", role: "img", "aria-label": label });
  thresholds.forEach((threshold, index) => {
    node.append(svg("line", { x1: 0, x2: width, y1: round(y(threshold)), y2: round(y(threshold)), class: `threshold ${index ? "high" : "low"}` }));
  });
  node.append(svg("path", { d: pathOf(values, x, y), class: "course" }));
  const last = values.at(-1);
  if (last !== null && last !== undefined) node.append(svg("circle", { cx: round(x(values.length - 1)), cy: round(y(last)), r: 2.8, class: `dot ${level}` }));
  return node;
}

// Baseline and current shares of the same bins, one over the other.
export function histogram(data, label) {
  const [width, height, left, bottom] = [440, 190, 34, 34];
  const count = data.labels.length;
  const top = Math.max(...data.baseline, ...data.current, 1e-9);
  const plot = { w: width - left - 4, h: height - bottom - 8 };
  const step = plot.w / Math.max(count, 1);
  const y = (share) => 8 + plot.h - (share / top) * plot.h;
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img", "aria-label": label });
  for (const part of [0, 0.5, 1]) {
    const line = round(y(top * part));
    node.append(svg("line", { x1: left, x2: width - 4, y1: line, y2: line, class: "grid" }));
    const text = svg("text", { x: left - 5, y: line + 3.5, class: "axis end" });
    text.textContent = percent(top * part);
    node.append(text);
  }
  data.labels.forEach((name, index) => {
    const x = left + index * step;
    const bar = (share, kind, inset) => svg("rect", {
      x: round(x + step * inset), width: Math.max(round(step * (1 - 2 * inset)), 0.5), y: round(y(share)), height: Math.max(round(8 + plot.h - y(share)), 0), class: kind,
    });
    const group = svg("g", {}, bar(data.baseline[index], "baseline", 0.04), bar(data.current[index], "current", 0.22), svg("rect", { x: round(x), width: round(step), y: 8, height: plot.h, class: "hit" }));
    node.append(titled(group, `${name}\nbaseline ${percent(data.baseline[index])}, this window ${percent(data.current[index])}`));
  });
  const room = Math.max(1, Math.ceil(count / Math.max(1, Math.floor(plot.w / 92))));
  data.labels.forEach((name, index) => {
    if (index % room !== 0) return;
    const text = svg("text", { x: round(left + (index + 0.5) * step), y: height - bottom + 16, class: "axis middle" });
    const letters = Math.max(4, Math.floor((step * room) / 6));
    text.textContent = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
    node.append(titled(text, name));
  });
  return node;
}

// The cells that moved: two bars each, reference above window, and their share of the score.
export function cellBars(cells, label) {
  const [width, left, row] = [420, 132, 30];
  const top = Math.max(...cells.flatMap((cell) => [cell.reference, cell.current]), 1e-9);
  const node = svg("svg", { viewBox: `0 0 ${width} ${cells.length * row}`, class: "cells", role: "img", "aria-label": label });
  cells.forEach((cell, index) => {
    const y = index * row;
    const name = svg("text", { x: 0, y: y + 17 });
    name.textContent = cell.cell.length > 20 ? `${cell.cell.slice(0, 19)}…` : cell.cell;
    const group = svg("g", {}, name);
    for (const [share, kind, inset] of [[cell.reference, "baseline", 3], [cell.current, "current", 15]]) {
      const length = (share / top) * (width - left - 110);
      group.append(svg("rect", { x: left, y: y + inset, width: Math.max(round(length), 0.5), height: 10, class: kind }));
      const text = svg("text", { x: round(left + length + 5), y: y + inset + 9, class: "axis" });
      text.textContent = percent(share);
      group.append(text);
    }
    const share = svg("text", { x: width, y: y + 17, class: "axis end" });
    share.textContent = `${percent(cell.share)} of it`;
    group.append(share);
    node.append(titled(group, `${cell.cell}\nbaseline ${percent(cell.reference)}, this window ${percent(cell.current)}, ${percent(cell.share)} of the score`));
  });
  return node;
}

// A line over windows, with the reference of the baseline where there is one.
export function lineChart(values, options) {
  const [width, height, left, bottom] = [320, 110, 40, 18];
  const finite = values.filter((value) => value !== null);
  const all = options.reference === undefined ? finite : [...finite, options.reference];
  let [low, high] = options.range ?? [Math.min(...all), Math.max(...all)];
  if (!options.range) {
    const margin = (high - low) * 0.15 || Math.abs(high) * 0.05 || 0.01;
    [low, high] = [low - margin, high + margin];
  }
  const x = (index) => left + (values.length < 2 ? 0.5 : index / (values.length - 1)) * (width - left - 8);
  const y = (value) => 6 + (1 - (value - low) / (high - low)) * (height - bottom - 12);
  const node = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "line-chart", role: "img", "aria-label": options.label });
  for (const value of [low, (low + high) / 2, high]) {
    node.append(svg("line", { x1: left, x2: width - 4, y1: round(y(value)), y2: round(y(value)), class: "grid" }));
    const text = svg("text", { x: left - 5, y: round(y(value)) + 3.5, class: "axis end" });
    text.textContent = options.format(value);
    node.append(text);
  }
  if (options.reference !== undefined) {
    const line = svg("line", { x1: left, x2: width - 4, y1: round(y(options.reference)), y2: round(y(options.reference)), class: "reference" });
    node.append(titled(line, `baseline ${options.format(options.reference)}`));
  }
  node.append(svg("path", { d: pathOf(values, x, y), class: `course ${options.kind ?? ""}` }));
  values.forEach((value, index) => {
    if (value === null) return;
    node.append(titled(svg("circle", { cx: round(x(index)), cy: round(y(value)), r: index === values.length - 1 ? 3 : 2, class: `point ${options.kind ?? ""}` }), `${options.names[index]}: ${options.format(value)}`));
  });
  [[0, "start"], [values.length - 1, "end"]].forEach(([index, anchor]) => {
    if (index < 0 || (index === 0 && anchor === "end")) return;
    const text = svg("text", { x: anchor === "start" ? left : width - 4, y: height - 3, class: `axis ${anchor}` });
    text.textContent = options.names[index] ?? "";
    node.append(text);
  });
  return node;
}

export function percent(share) {
  const digits = share !== 0 && Math.abs(share) < 0.01 ? 2 : share < 0.1 ? 1 : 0;
  return `${(share * 100).toFixed(digits)}%`;
}
