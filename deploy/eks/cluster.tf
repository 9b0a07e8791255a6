# What is there already, and what follows from it.

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_route53_zone" "this" {
  zone_id = var.zone_id
}

locals {
  vpc_id                 = data.aws_eks_cluster.this.vpc_config[0].vpc_id
  node_security_group_id = coalesce(var.node_security_group_id, data.aws_eks_cluster.this.vpc_config[0].cluster_security_group_id)

  gateway_port = 8080 # of VirtualGateway and Deployment in gateway.yaml
  ready_port   = 9902 # where Greenroom has the Envoy of a gateway tell that it can serve
  ready_path   = "/ready"
  webhook_port = 3000 # of the Service greenroom-webhook
  webhook_host = var.webhook_label == null ? null : "${var.webhook_label}.${var.domain}"
}
