"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const unpacked = async (base64) =>
    new Response(new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip"))).text();

  /* Copying: the clipboard where the browser grants it, a hidden text field otherwise. */
  const toast = document.getElementById("toast");
  let timer = 0;
  const say = (text) => {
    toast.textContent = text;
    toast.classList.add("shown");
    clearTimeout(timer);
    timer = setTimeout(() => toast.classList.remove("shown"), 2200);
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      field.className = "offstage";
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    say("Copied: " + text);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) copy(button.dataset.copy);
  });

  /* A long CSV travels compressed and is saved plain. */
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a.csv");
    const head = "data:application/gzip;base64,";
    if (!link || !link.href.startsWith(head) || !window.DecompressionStream) return;
    event.preventDefault();
    const text = await unpacked(link.getAttribute("href").slice(head.length));
    const saved = document.createElement("a");
    saved.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    saved.download = link.download.replace(/\.gz$/, "");
    saved.click();
    setTimeout(() => URL.revokeObjectURL(saved.href), 10000);
  });

  const plain = (text) => {
    const field = document.createElement("textarea");
    field.innerHTML = text.replaceAll("<br>", " ");
    return field.value;
  };

  const coarse = window.matchMedia("(pointer: coarse)").matches;
  const draw = async (host, panel, readout) => {
    const { title, ...layout } = panel.layout;
    layout.margin = { ...layout.margin, t: 10 };
    layout.dragmode = coarse ? false : "zoom";
    const ticks = ["xaxis", "yaxis"].map((axis) => [axis, structuredClone(layout[axis])]);
    await Plotly.newPlot(host, panel.data, layout, {
      responsive: true, displayModeBar: false, displaylogo: false, doubleClick: "reset", showTips: false,
    });
    /* The drawing scales on paper: its box is written down after every drawing. */
    const measure = () => {
      const { width, height } = host._fullLayout;
      host.style.setProperty("--ratio", width + " / " + height);
      host.querySelectorAll(".main-svg").forEach((svg) => svg.setAttribute("viewBox", `0 0 ${width} ${height}`));
    };
    measure();
    host.on("plotly_afterplot", measure);
    /* Ticks chosen for the whole picture give way to automatic ones where a part of it is enlarged. */
    let automatic = false;
    host.on("plotly_relayout", (change) => {
      const zoomed = Object.keys(change).some((key) => /^[xy]axis\.range/.test(key));
      if (!zoomed) return;
      const home = ticks.every(([axis, { range }]) =>
        range.every((end, i) => Math.abs(end - host.layout[axis].range[i]) < 1e-9));
      if (home === !automatic) return;
      automatic = !home;
      Plotly.relayout(host, Object.fromEntries(
        ticks.map(([axis, { tickmode }]) => [axis + ".tickmode", automatic ? "auto" : tickmode])));
    });
    host.on("plotly_click", (event) => {
      const [cell, command] = event.points[0].customdata || [];
      if (!cell && !command) return;
      readout.hidden = false;
      readout.textContent = "";
      if (cell) readout.append(plain(cell));
      if (command) {
        const code = document.createElement("code");
        code.textContent = plain(command);
        readout.append(" ", code);
        copy(code.textContent);
      }
    });
  };

  /* Letters keep their size on paper: each drawing is made again for the width it will have there. */
  const widths = { 1: 430, 2: 320, 3: 215, 4: 320 };
  window.addEventListener("beforeprint", () => {
    for (const host of document.querySelectorAll(".plot.js-plotly-plot")) {
      const columns = host.closest(".panels").className.match(/columns-(\d)/)[1];
      Plotly.relayout(host, { autosize: false, width: widths[columns], height: columns === "3" ? 175 : 235 });
    }
  });
  window.addEventListener("afterprint", () => {
    for (const host of document.querySelectorAll(".plot.js-plotly-plot")) {
      Plotly.relayout(host, { autosize: true, width: null, height: null });
    }
  });

  /* A page that reloaded itself while its run went on left a note of where its reader was. */
  const place = (() => {
    try {
      const found = JSON.parse(sessionStorage.getItem("steppe-place"));
      sessionStorage.removeItem("steppe-place");
      return found && found.path === location.pathname ? found : null;
    } catch {
      return null;
    }
  })();
  let moved = false;
  for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    window.addEventListener(name, () => { moved = true; }, { passive: true });
  }
  const goBack = () => {
    if (!place || moved) return;
    const part = document.getElementById(place.part);
    const top = part ? window.scrollY + part.getBoundingClientRect().top - place.top : place.y;
    window.scrollTo({ top, behavior: "instant" });
  };
  if (place) {
    for (const details of document.querySelectorAll("details")) {
      details.open = place.open.includes(details.closest("[id]").id);
    }
    goBack();
  }

  const figures = async () => {
    for (const figure of document.querySelectorAll("figure")) {
      const holder = figure.querySelector("script[type='application/x-figure']");
      const hosts = figure.querySelectorAll(".plot");
      try {
        const spec = JSON.parse(await unpacked(holder.textContent.trim()));
        for (const [i, panel] of spec.panels.entries()) await draw(hosts[i], panel, figure.querySelector(".readout"));
      } catch (error) {
        hosts.forEach((host) => { host.textContent = "This browser could not draw the figure; its numbers are below."; });
        root.dataset.trouble = String(error);
      }
    }
    goBack();
    root.dataset.ready = "true";
  };
  figures();
})();
