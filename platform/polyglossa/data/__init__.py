"""The step plan and the batches made from it: plan, layout, bundles, collation. No Ray."""
