# Roles that pods take by their ServiceAccount (IRSA). Each is for one account of one namespace.

locals {
  issuer = trimprefix(data.aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://")

  roles = {
    for key, role in {
      app = {
        wanted  = true
        name    = var.app_role_name
        account = { namespace = var.app_namespace, name = var.app_service_account }
      }
      controller = {
        wanted  = var.controller_service_account != null
        name    = "${var.name}-load-balancer-controller"
        account = var.controller_service_account
      }
      ecr = {
        wanted  = length(var.ecr_repository_arns) > 0
        name    = "${var.name}-ecr-read"
        account = var.ecr_service_account
      }
    } : key => role if role.wanted
  }

  policies = {
    app        = var.app_policy_json
    controller = jsonencode({ Version = "2012-10-17", Statement = local.controller_statements })
    ecr        = jsonencode({ Version = "2012-10-17", Statement = local.ecr_statements })
  }

  # What a TargetGroupBinding takes: its targets in these target groups, and the way to them in the nodes' security group.
  # AWS lets nobody limit the Describe calls to some resources.
  controller_statements = [
    {
      Effect = "Allow"
      Action = [
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInstances",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
      ]
      Resource = ["*"]
    },
    {
      Effect   = "Allow"
      Action   = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"]
      Resource = concat([aws_lb_target_group.gateway.arn], aws_lb_target_group.webhook[*].arn)
    },
    {
      Effect = "Allow"
      Action = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
      Resource = [join(":", [
        "arn", data.aws_partition.this.partition, "ec2", data.aws_region.this.region,
        data.aws_caller_identity.this.account_id, "security-group/${local.node_security_group_id}",
      ])]
    },
  ]

  ecr_statements = [
    {
      Effect   = "Allow"
      Action   = ["ecr:GetAuthorizationToken"]
      Resource = ["*"]
    },
    {
      Effect   = "Allow"
      Action   = ["ecr:BatchGetImage", "ecr:DescribeImages"]
      Resource = sort(var.ecr_repository_arns)
    },
  ]
}

data "aws_iam_openid_connect_provider" "this" {
  url = data.aws_eks_cluster.this.identity[0].oidc[0].issuer
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = each.value.name
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = data.aws_iam_openid_connect_provider.this.arn }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${each.value.account.namespace}:${each.value.account.name}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = { for key, role in local.roles : key => role if key != "app" || var.app_policy_json != null }

  name   = each.key
  role   = aws_iam_role.this[each.key].name
  policy = local.policies[each.key]
}
