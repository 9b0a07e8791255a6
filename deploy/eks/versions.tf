# One load balancer for all preview environments of a cluster on EKS. docs/eks.md is the walk-through.

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}
