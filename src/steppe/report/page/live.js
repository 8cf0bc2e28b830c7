"use strict";
/* A page of a run that goes on: it reloads itself, and stops claiming to run when no news comes. */
(() => {
  const banner = document.getElementById("live");
  const { state, written, period, silence, share } = banner.dataset;
  document.title = share + " · " + document.title;
  if (state !== "running") return;

  const every = 1000 * Number(period);
  const patience = 1000 * Number(silence);
  const silent = () => Date.now() - Number(written) > patience;

  let printing = false;
  window.addEventListener("beforeprint", () => { printing = true; });
  window.addEventListener("afterprint", () => { printing = false; });
  let pressed = false;
  window.addEventListener("pointerdown", () => { pressed = true; });
  for (const name of ["pointerup", "pointercancel", "blur"]) window.addEventListener(name, () => { pressed = false; });
  const engaged = () => pressed || String(window.getSelection()) !== "";

  /* Where the reader is: the part of the page at the top of the window, and what is unfolded. The page may grow. */
  const keep = () => {
    const parts = [...document.querySelectorAll("section[id], figure[id], .verdicts .row[id]")];
    const above = parts.filter((part) => part.getBoundingClientRect().top <= 1).pop();
    const open = [...document.querySelectorAll("details[open]")].map((details) => details.closest("[id]").id);
    const place = {
      path: location.pathname, y: window.scrollY, open,
      part: above ? above.id : "", top: above ? above.getBoundingClientRect().top : 0,
    };
    try {
      sessionStorage.setItem("steppe-place", JSON.stringify(place));
    } catch { /* Some browsers keep nothing for files; they find the place by themselves, about. */ }
  };

  const tell = () => {
    banner.classList.toggle("silent", silent());
    banner.querySelector(".news").hidden = silent();
    banner.querySelector(".silence").hidden = !silent();
  };

  const look = () => {
    const due = performance.now() > (silent() ? Math.max(every, 60000) : every);
    const held = printing || document.hidden || (engaged() && !silent());
    if (due && !held) {
      keep();
      location.reload();
    } else if (!printing) tell();
  };
  tell();
  setInterval(look, Math.min(1000, every));
  document.addEventListener("visibilitychange", look);
})();
