// Before the first frame, so that a dark page does not flash.
(function () {
  try {
    var theme = localStorage.getItem("narthex.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (_) {}
})();
