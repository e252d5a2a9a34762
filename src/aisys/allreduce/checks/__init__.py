"""The probes of Lab 4, a module for each stage; importing this package registers them all."""
