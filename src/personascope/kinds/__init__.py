"""Kinds of study: what a study file can ask for, a small module each."""
