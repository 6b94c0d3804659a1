"""This room is HTTP: one module an API family. No translation and no provider's name here."""
