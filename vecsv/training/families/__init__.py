"""Families of networks that can be trained: what each is made of and how it becomes a bundle."""
