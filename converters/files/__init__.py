"""What an untrusted model file is and may hold, checked before any library of its own format opens it."""
