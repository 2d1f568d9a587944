"""What is done to crops so that a model meets more than its corpus holds; every draw from a given generator."""
