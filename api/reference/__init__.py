"""The reference page: the API's description as HTML, for people."""
