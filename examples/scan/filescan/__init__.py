"""Scan a folder of source files with tasks: an example of a project that uses taskctl."""
