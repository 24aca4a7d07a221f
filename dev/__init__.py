"""What developers and tests run beside the product: tools, clusters, the demo. Never shipped."""
