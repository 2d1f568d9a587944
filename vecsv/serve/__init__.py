"""The HTTP service: decoding, embedding and answering, within limits."""
