"""The Ray Serve application: the whole family behind one endpoint. `serve.app:build` is its import path."""
