"""What is told of each request, and to whom."""
