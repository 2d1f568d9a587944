"""What a user asks a store: is this the same person, who is this; and who is in it."""
