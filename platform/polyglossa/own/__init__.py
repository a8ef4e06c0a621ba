"""Stage `own`: what a fine-tuning brought on one's own data, beside the model as it came, BM25 and the one before."""
