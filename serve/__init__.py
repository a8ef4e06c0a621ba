"""Entry point and configuration of the Ray Serve application; `serve.app:build` is its import path."""
