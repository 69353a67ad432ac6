// A link may carry the token behind its #, which browsers do not send: it is posted once and removed from the address.
const match = /^#token=(.+)$/.exec(location.hash), field = document.getElementById("token");
if (match) {
  history.replaceState(null, "", location.pathname);
  try { field.value = decodeURIComponent(match[1]); } catch { field.value = match[1]; }
  field.form.requestSubmit();
}
