variable "cluster_name" {
  description = "Name of the EKS cluster. Its VPC, its security group and its OIDC issuer are looked up."
  type        = string
  nullable    = false
}

variable "domain" {
  description = "Domain below which each environment gets its host, such as pr-env.example.com for pr7.pr-env.example.com."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain))
    error_message = "The domain is written in lower case, without a wildcard and without a dot at either end."
  }
}

variable "zone_id" {
  description = "ID of the public Route 53 zone that the domain is in: the zone of the domain itself, or of one above it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^Z[A-Z0-9]+$", var.zone_id))
    error_message = "The ID of a Route 53 zone begins with Z, such as Z0123456789ABCDEFGHIJ."
  }
}

variable "allowed_cidrs" {
  description = "IPv4 networks that may reach the load balancer made here: people's, and those that GitHub sends webhooks from. Nobody else may. An existing load balancer keeps its own rules."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr)) && try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "Each is an IPv4 network such as 192.0.2.0/24, written with its first address. Everybody is 0.0.0.0/0."
  }
}

variable "name" {
  description = "Prefix of the names of what is made here."
  type        = string
  default     = "pr-env"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.name)) && !startswith(var.name, "internal-")
    error_message = "The name has 1 to 20 lower case letters, digits and hyphens, begins with a letter, does not end with a hyphen, and does not begin with internal-."
  }
}

variable "load_balancer_arn" {
  description = "ARN of an Application Load Balancer of yours, with an HTTPS listener on port 443. By default one is made."
  type        = string
  default     = null

  validation {
    condition     = var.load_balancer_arn == null || can(regex("^arn:[a-z-]+:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:loadbalancer/app/", var.load_balancer_arn))
    error_message = "The ARN is not that of an Application Load Balancer."
  }
}

variable "rule_priority" {
  description = "Number of the first of two rules of the HTTPS listener: the webhook's, and behind it the environments'. Both have to be free."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.rule_priority >= 1 && var.rule_priority < 50000
    error_message = "The number is from 1 to 49999."
  }
}

variable "subnet_ids" {
  description = "Subnets of the load balancer made here, in two availability zones or more: public ones, unless it is internal."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "The ID of a subnet looks like subnet-0123456789abcdef0."
  }
}

variable "internal" {
  description = "Whether the load balancer made here is reached from inside the VPC only, by a VPN for example. GitHub's webhooks then need another way in."
  type        = bool
  default     = false
  nullable    = false
}

variable "node_security_group_id" {
  description = "Security group of the nodes, where it is not the cluster's own."
  type        = string
  default     = null

  validation {
    condition     = var.node_security_group_id == null || can(regex("^sg-[0-9a-f]+$", var.node_security_group_id))
    error_message = "The ID of a security group looks like sg-0123456789abcdef0."
  }
}

variable "ssl_policy" {
  description = "TLS versions and ciphers that the load balancer made here accepts. By default TLS 1.2 and 1.3 with forward secrecy, and post-quantum key exchange for clients that can."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"
  nullable    = false

  validation {
    condition     = can(regex("^ELBSecurityPolicy-TLS13-1-[23]-", var.ssl_policy))
    error_message = "Only policies with TLS 1.3, and nothing older than TLS 1.2, are accepted: ELBSecurityPolicy-TLS13-1-2-… or -TLS13-1-3-…."
  }
}

variable "webhook_label" {
  description = "Label before the domain of the host that GitHub sends its webhooks to: greenroom for greenroom.pr-env.example.com. Null, if they come another way."
  type        = string
  default     = "greenroom"

  validation {
    condition     = var.webhook_label == null || can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.webhook_label))
    error_message = "The label has no dot: the certificate covers one label before the domain."
  }
}

variable "app_namespace" {
  description = "Namespace of the environments."
  type        = string
  default     = "pr-env"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.app_namespace))
    error_message = "That is no name of a namespace. A pattern would let other accounts take the role."
  }
}

variable "app_service_account" {
  description = "ServiceAccount of the environments' pods, in that namespace."
  type        = string
  default     = "pr-env-app"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", var.app_service_account))
    error_message = "That is no name of a ServiceAccount. A pattern would let other accounts take the role."
  }
}

variable "app_role_name" {
  description = "Name of the role that these pods take: what stands behind role/ in serviceaccount.yaml."
  type        = string
  default     = "prEnvAppRole"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.app_role_name))
    error_message = "The name of a role has 1 to 64 letters, digits and characters of +=,.@_-."
  }
}

variable "app_policy_json" {
  description = "What the applications may do in AWS, as an IAM policy in JSON. By default nothing. Whoever can open a pull request gets these rights."
  type        = string
  default     = null

  validation {
    condition     = var.app_policy_json == null || can(jsondecode(var.app_policy_json).Statement)
    error_message = "An IAM policy is JSON with a Statement."
  }
}

variable "permissions_boundary_arn" {
  description = "IAM policy that limits every role made here, if your account asks for one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::(aws|[0-9]{12}):policy/", var.permissions_boundary_arn))
    error_message = "The ARN is not that of an IAM policy."
  }
}

variable "controller_service_account" {
  description = "Account of an AWS Load Balancer Controller that only does what is needed here; it gets a role of its own. Null, if the controller has its rights from elsewhere."
  type = object({
    namespace = string
    name      = string
  })
  default = null

  validation {
    condition     = var.controller_service_account == null || can(regex("^[a-z0-9.-]+/[a-z0-9.-]+$", "${var.controller_service_account.namespace}/${var.controller_service_account.name}"))
    error_message = "Namespace and name are plain. A pattern would let other accounts take the role."
  }
}

variable "ecr_repository_arns" {
  description = "ECR repositories whose images a pod may look at by a role, where the role of its node does not let it. By default none, and no such role."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.ecr_repository_arns : can(regex("^arn:[a-z-]+:ecr:[a-z0-9-]+:[0-9]{12}:repository/[^*?]+$", arn))])
    error_message = "Each is the ARN of one repository, without a wildcard."
  }
}

variable "ecr_service_account" {
  description = "Account that takes that role. By default Greenroom's own."
  type = object({
    namespace = string
    name      = string
  })
  default = {
    namespace = "greenroom"
    name      = "greenroom"
  }
  nullable = false

  validation {
    condition     = can(regex("^[a-z0-9.-]+/[a-z0-9.-]+$", "${var.ecr_service_account.namespace}/${var.ecr_service_account.name}"))
    error_message = "Namespace and name are plain. A pattern would let other accounts take the role."
  }
}

variable "github_repository" {
  description = "GitHub repository whose pull requests' builds may push images, as its tokens name it: owner/name, or owner@1234/name@5678 where they have the numbers. By default none, and no such role."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9-]+(@[0-9]+)?/[A-Za-z0-9._-]+(@[0-9]+)?$", var.github_repository))
    error_message = "A repository is written owner/name, or owner@1234/name@5678. A pattern would let other repositories take the role."
  }
}

variable "image_repository_arn" {
  description = "The ECR repository that these builds push to. It exists already."
  type        = string
  default     = null

  validation {
    condition     = var.image_repository_arn == null || can(regex("^arn:[a-z-]+:ecr:[a-z0-9-]+:[0-9]{12}:repository/[^*?]+$", var.image_repository_arn))
    error_message = "That is not the ARN of one repository, without a wildcard."
  }
}
