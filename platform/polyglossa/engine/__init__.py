"""The training engine: plan, layout, feed, step, backends, loop and launch."""
