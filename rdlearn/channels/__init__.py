"""Channels between encoder and decoder: the code, its rate in nats, and their gradients."""
