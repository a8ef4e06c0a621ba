"""The HTTP interface of the endpoint: routes, bodies, keys, access log, the try-it page."""
