// The link's token goes from the address into the form, and out of the address, where a screenshot or the history would keep it.

const token = new URLSearchParams(location.search).get("token");
if (token) {
  document.getElementById("token").value = token;
  history.replaceState(null, "", location.pathname);
}
