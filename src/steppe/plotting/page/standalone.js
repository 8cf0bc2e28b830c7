"use strict";
(async () => {
  const root = document.documentElement;
  for (const figure of document.querySelectorAll("figure")) {
    const hosts = figure.querySelectorAll(".plot");
    try {
      const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      for (const [i, panel] of spec.panels.entries()) {
        const { title, ...layout } = panel.layout;
        layout.margin = { ...layout.margin, t: 10 };
        await Plotly.newPlot(hosts[i], panel.data, layout, {
          responsive: true, displayModeBar: false, displaylogo: false, doubleClick: "reset", showTips: false,
        });
      }
    } catch (error) {
      hosts.forEach((host) => { host.textContent = "This browser could not draw the figure; its numbers are below."; });
      root.dataset.trouble = String(error);
    }
  }
  root.dataset.ready = "true";
})();
