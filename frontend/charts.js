// Charts of the console. A <figure data-chart="id"> holds a table for everybody and is drawn from the JSON beside it.

import { BarChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

echarts.use([BarChart, GridComponent, TooltipComponent, LegendComponent, AriaComponent, SVGRenderer]);

const drawn = new Map();
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A colour of the design, as the page has it now: charts do not read CSS variables. */
function colours() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    ink: read("--ink-2"),
    muted: read("--ink-3"),
    line: read("--line"),
    surface: read("--raised"),
    series: [read("--accent"), read("--series-2"), read("--series-3"), read("--series-4")],
  };
  probe.remove();
  return found;
}

function options(chart) {
  const colour = colours();
  const isBars = chart.kind === "bars";
  const names = {
    type: "category",
    data: chart.names,
    inverse: isBars,
    axisLine: { lineStyle: { color: colour.line } },
    axisTick: { show: false },
    axisLabel: { color: colour.muted, hideOverlap: true, ...(isBars ? { width: 150, overflow: "truncate" } : { formatter: day }) },
  };
  const numbers = {
    type: "value",
    splitNumber: 4,
    axisLabel: { color: colour.muted, formatter: (value) => compact.format(value) },
    splitLine: { lineStyle: { color: colour.line } },
  };
  return {
    color: colour.series,
    animation: !still.matches,
    animationDuration: 250,
    aria: { enabled: true },
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 12, top: chart.series.length > 1 ? 36 : 12, bottom: 4, containLabel: true },
    legend: chart.series.length > 1 ? { top: 0, left: 0, icon: "roundRect", itemWidth: 10, itemHeight: 10, textStyle: { color: colour.ink } } : undefined,
    // Drawn, not written as HTML: names come from people, and the page allows no style but its own.
    tooltip: {
      trigger: "axis",
      renderMode: "richText",
      axisPointer: { type: "shadow", shadowStyle: { color: colour.line, opacity: 0.4 } },
      backgroundColor: colour.surface,
      borderColor: colour.line,
      textStyle: { color: colour.ink },
      formatter: (points) =>
        [points[0].name, ...points.map((point) => `${point.seriesName}: ${chart.series[point.seriesIndex].texts[point.dataIndex]}`)].join("\n"),
    },
    xAxis: isBars ? numbers : names,
    yAxis: isBars ? names : numbers,
    series: chart.series.map((one) => ({
      name: one.name,
      type: "bar",
      stack: "all",
      data: one.values,
      barMaxWidth: isBars ? 18 : 28,
      itemStyle: { borderRadius: isBars ? [0, 3, 3, 0] : [3, 3, 0, 0] },
    })),
  };
}

const language = document.documentElement.lang || "en";
const compact = new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 });
const short = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
const day = (name) => (/^\d{4}-\d\d-\d\d$/.test(name) ? short.format(new Date(`${name}T00:00:00Z`)) : name);

function draw(figure) {
  const source = document.getElementById(figure.dataset.chart);
  if (!source) return;
  const chart = JSON.parse(source.textContent);
  const place = figure.querySelector(".canvas");
  if (chart.kind === "bars") place.dataset.rows = String(Math.min(chart.names.length, 20));
  const instance = echarts.init(place, null, { renderer: "svg" });
  instance.setOption(options(chart));
  drawn.set(figure, { instance, chart });
}

function all(root) {
  for (const [figure, { instance }] of drawn) {
    if (figure.isConnected) continue;
    instance.dispose();
    drawn.delete(figure);
  }
  for (const figure of root.querySelectorAll("[data-chart]")) if (!drawn.has(figure)) draw(figure);
}

const again = () => {
  for (const { instance, chart } of drawn.values()) instance.setOption(options(chart), { notMerge: true });
};

all(document);
document.body.addEventListener("htmx:afterSettle", () => all(document));
window.addEventListener("resize", () => drawn.forEach(({ instance }) => instance.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
