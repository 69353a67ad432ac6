// A link may hold the token behind its #, which browsers send to nobody: it is handed in once, and leaves the address.
const shown = /^#token=(.+)$/.exec(location.hash), field = document.getElementById("token");
if (shown) {
  history.replaceState(null, "", location.pathname);
  try { field.value = decodeURIComponent(shown[1]); } catch { field.value = shown[1]; }
  field.form.requestSubmit();
}
