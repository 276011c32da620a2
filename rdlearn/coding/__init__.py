"""Integer tables, entropy coder, quantizers and the byte container."""
