"""The Ray Serve application: the whole family behind one endpoint."""
