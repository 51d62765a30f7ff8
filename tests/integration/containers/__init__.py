"""The images and the compose file: built, run in real namespaces, and checked. `script/images` is the command."""
